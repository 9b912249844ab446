import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { readRecipe, recipeOf, type BuildRequest, type EnvironmentBuilds } from "../../build/index.js";
import type {
  BuildEnvironmentRequest,
  BuildEnvironmentResponseSchema,
  EnvironmentSchema,
  EnvironmentService,
} from "../../protocol/gen/pyro/daemon/v1/environment_pb.js";
import { DEFAULT_MACHINE, LIMITS, PyroError } from "../../protocol/index.js";
import type { EnvironmentStatus } from "../../image/index.js";
import { Handoff } from "../handoff.js";
import { bounded } from "./bounded.js";
import { toPolicy } from "./network.js";

type Response = MessageInitShape<typeof BuildEnvironmentResponseSchema>;

/** EnvironmentService.Build: streamed, and over with its caller. */
export function buildCall(
  builds: EnvironmentBuilds,
  toEnvironment: (status: EnvironmentStatus) => Promise<MessageInitShape<typeof EnvironmentSchema>>,
): ServiceImpl<typeof EnvironmentService>["build"] {
  return async function* (request, context) {
    const events = new Handoff<Response>();
    const signal = AbortSignal.any([context.signal, events.left]);
    const work = toRequest(request).then((build) =>
      builds.build(
        build,
        {
          onProgress: ({ message, bytesDone, bytesTotal }) => {
            const sizes = { bytesDone: BigInt(bytesDone), bytesTotal: BigInt(bytesTotal) };
            void events.put({ event: { case: "progress", value: { phase: "build", message, ...sizes } } });
          },
          onStep: ({ number, total, text, place }, state) => {
            const value = { number, total, text, place: place.text, state };
            void events.put({ event: { case: "step", value } });
          },
          onOutput: (data) => events.put({ event: { case: "output", value: data } }),
        },
        signal,
      ),
    );
    work.then(
      async ({ environment, warnings, durationMs, ...rest }) => {
        const value = {
          ...rest,
          environment: await toEnvironment(environment),
          warnings: [...warnings],
          durationMs: BigInt(Math.round(durationMs)),
        };
        events.end({ event: { case: "result", value } });
      },
      (error: unknown) => events.fail(error),
    );
    try {
      yield* events;
    } finally {
      // The caller left, or all was said: either way nothing of the build runs before this call ends.
      await work.catch(() => undefined);
    }
  };
}

/** @throws {PyroError} INVALID_ARGUMENT, BUILD_FILE_INVALID */
async function toRequest(request: BuildEnvironmentRequest): Promise<BuildRequest> {
  const { file, from, env, copy, run, vcpuCount, memMib } = request;
  if (file !== undefined && (from !== "" || env.length + copy.length + run.length > 0)) {
    throw new PyroError("INVALID_ARGUMENT", "both a file and steps are given", {
      hint: "write the steps into the file, or leave it out",
    });
  }
  return {
    name: request.name,
    recipe: file === undefined ? recipeOf({ from, env, copy, run }) : await readRecipe(file),
    args: new Map(request.args.map(toArgument)),
    context: request.context,
    network: toPolicy(request.network),
    vcpuCount: bounded("vcpu_count", vcpuCount || DEFAULT_MACHINE.vcpuCount, 1, LIMITS.vcpuCountMax),
    memMib: bounded("mem_mib", memMib || DEFAULT_MACHINE.memMib, LIMITS.memMibMin, LIMITS.memMibMax),
    stepTimeoutMs: request.stepTimeoutMs,
    noPull: request.noPull,
    noCache: request.noCache,
  };
}

function toArgument(text: string): readonly [string, string] {
  const equals = text.indexOf("=");
  if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)];
  throw new PyroError("INVALID_ARGUMENT", `${JSON.stringify(text)} is no NAME=value`, {
    hint: "write it like VERSION=1.2",
  });
}
