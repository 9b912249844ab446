import type { MessageInitShape } from "@bufbuild/protobuf";
import { LIMITS, PyroError } from "../protocol/index.js";
import type {
  BuildEnvironmentRequestSchema,
  BuildEnvironmentResponse,
} from "../protocol/gen/pyro/daemon/v1/environment_pb.js";
import { resultOf } from "./result-stream.js";
import { toDetails, toPullProgress, type EnvironmentDetails, type PullProgress } from "./environments.js";
import { networkRulesOf, type NetworkOptions } from "./network-record.js";

/** An environment of one's own. */
export interface BuildOptions {
  /** What it will be called on this host, for example "my-tools:1". */
  readonly name: string;
  /** What says the steps; instead of `from` and the three after it. */
  readonly file?: BuildFile | undefined;
  /** The environment that it is built on: a name, or an image's reference. */
  readonly from?: string | undefined;
  /** Variables of the commands, and of those that run in the environment later. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** "SOURCE:DESTINATION" each; sources are relative to the context. */
  readonly copy?: readonly string[] | undefined;
  /** Lines for /bin/sh, as root, in their order; after the variables and the copies. */
  readonly run?: readonly string[] | undefined;
  /** Values of the ARGs of a Dockerfile. */
  readonly args?: Readonly<Record<string, string>> | undefined;
  /** The directory that copies are taken from; nothing outside of it is read. Absolute. */
  readonly contextPath?: string | undefined;
  /** What the commands may reach; default nothing. `true`: the public internet. */
  readonly network?: boolean | NetworkOptions | undefined;
  readonly vcpuCount?: number | undefined;
  readonly memMib?: number | undefined;
  /** Bounds each command; default 30 minutes. */
  readonly timeoutSeconds?: number | undefined;
  readonly noPull?: boolean | undefined;
  /** Does every step anew, whatever was done before. */
  readonly noCache?: boolean | undefined;
  readonly onStep?: ((step: BuildStep) => void) | undefined;
  /** What the steps print, both streams as they came. */
  readonly onOutput?: ((data: Uint8Array) => void) | undefined;
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

/** A file that says how to build. */
export interface BuildFile {
  /** Its end says what it is: ".toml" and ".json" are recipes, all else is a Dockerfile. */
  readonly name: string;
  readonly text: string;
}

export interface BuildStep {
  /** From 1. */
  readonly number: number;
  readonly total: number;
  readonly text: string;
  /** "Dockerfile:7" */
  readonly place: string;
  /** It is there already, or it begins. */
  readonly state: "cached" | "running";
}

export interface BuildResult {
  readonly environment: EnvironmentDetails;
  /** The same was built under this name before. */
  readonly reused: boolean;
  readonly stepCount: number;
  /** Steps that were there. */
  readonly cachedCount: number;
  /** What was left out, one sentence each. */
  readonly warnings: readonly string[];
  readonly durationMs: number;
}

/** @throws {PyroError} INVALID_ARGUMENT */
export function toBuildRequest(
  options: BuildOptions,
): MessageInitShape<typeof BuildEnvironmentRequestSchema> {
  const { name, file, from = "", env, copy = [], run = [], args, contextPath = "/nonexistent" } = options;
  const timeoutSeconds = options.timeoutSeconds ?? 0;
  if (!(timeoutSeconds >= 0 && timeoutSeconds <= LIMITS.longestSeconds)) {
    throw new PyroError("INVALID_ARGUMENT", `timeoutSeconds is ${timeoutSeconds}`, {
      hint: `give a number from 1 to ${LIMITS.longestSeconds}`,
    });
  }
  return {
    ...{ name, from, copy: [...copy], run: [...run], context: contextPath },
    ...(file === undefined ? {} : { file: { name: file.name, text: file.text } }),
    env: entriesOf(env),
    args: entriesOf(args),
    ...networkRulesOf(options.network),
    vcpuCount: options.vcpuCount ?? 0,
    memMib: options.memMib ?? 0,
    stepTimeoutMs: Math.min(Math.round(timeoutSeconds * 1000), 2 ** 32 - 1),
    noPull: options.noPull ?? false,
    noCache: options.noCache ?? false,
  };
}

function entriesOf(values: Readonly<Record<string, string>> = {}): string[] {
  return Object.entries(values).map(([name, value]) => {
    if (name !== "" && !name.includes("=")) return `${name}=${value}`;
    throw new PyroError("INVALID_ARGUMENT", `${JSON.stringify(name)} is no name of a variable`, {
      hint: "a variable's name is not empty and holds no `=`",
    });
  });
}

/** Follows a build to its result. */
export async function followBuild(
  responses: AsyncIterable<BuildEnvironmentResponse>,
  { onStep, onOutput, onProgress }: Pick<BuildOptions, "onStep" | "onOutput" | "onProgress">,
): Promise<BuildResult> {
  return await resultOf("the build", responses, ({ event }) => {
    if (event.case === "progress") onProgress?.(toPullProgress(event.value));
    else if (event.case === "output") onOutput?.(event.value);
    else if (event.case === "step") {
      const { number, total, text, place, state } = event.value;
      onStep?.({ number, total, text, place, state: state === "cached" ? "cached" : "running" });
    } else if (event.case === "result" && event.value.environment !== undefined) {
      const { environment, reused, stepCount, cachedCount, warnings, durationMs } = event.value;
      const counts = { reused, stepCount, cachedCount, durationMs: Number(durationMs) };
      return { environment: toDetails(environment), ...counts, warnings: [...warnings] };
    }
    return undefined;
  });
}
