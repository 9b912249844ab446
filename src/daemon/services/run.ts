import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { CommandResultSchema } from "../../protocol/gen/pyro/daemon/v1/command_pb.js";
import {
  RunRecordSchema,
  RunState as WireState,
  type RunRequest,
  type RunResponseSchema,
  type RunService,
  type RunSpec,
} from "../../protocol/gen/pyro/daemon/v1/run_pb.js";
import { DEFAULT_MACHINE, LIMITS, PyroError } from "../../protocol/index.js";
import {
  runOneShot,
  type OneShotResult,
  type OneShotSpec,
  type Phase,
  type RunRegistry,
  type RunView,
  type SandboxFactory,
} from "../../workspace/index.js";
import { feed } from "../feed.js";
import { Handoff } from "../handoff.js";
import { errorDetail } from "../wire-error.js";
import { bounded } from "./bounded.js";
import { toPolicy } from "./network.js";
import { toRunOutput } from "./workspace-view.js";

type Response = MessageInitShape<typeof RunResponseSchema>;

/** The RunService: streamed one-shots and started ones. */
export function runService(factory: SandboxFactory, registry: RunRegistry): ServiceImpl<typeof RunService> {
  return {
    run: (requests, context) => streamRun(factory, requests, context),
    startRun: async ({ spec }) => record(await registry.start(toSpec(spec))),
    readRun: async ({ runId, offset, maxBytes, waitMs }, { signal }) =>
      record(
        await registry.read(runId, {
          offset: Number(offset),
          maxBytes: Math.min(maxBytes, 64 * 1024),
          waitMs: Math.min(waitMs, LIMITS.mcpBlockMs),
          signal,
        }),
      ),
    cancelRun: async ({ runId }) => record(await registry.cancel(runId)),
  };
}

async function* streamRun(
  factory: SandboxFactory,
  requests: AsyncIterable<RunRequest>,
  context: HandlerContext,
): AsyncGenerator<Response> {
  const inputs = requests[Symbol.asyncIterator]();
  const first = await inputs.next();
  const start = first.done === true ? undefined : first.value.request;
  if (start?.case !== "start") {
    throw new PyroError("INVALID_ARGUMENT", "the first message of Run is not `start`", {
      hint: "update the client",
    });
  }
  const { spec, openStdin } = start.value;
  const events = new Handoff<Response>();
  const signal = AbortSignal.any([context.signal, events.left]);
  const work = runOneShot(
    factory,
    toSpec(spec),
    {
      openStdin,
      whenUnread: "wait",
      onPhase: (phase) => void events.put({ event: { case: "phase", value: toPhase(phase) } }),
      onOutput: (stream, data) => events.put({ event: { case: stream, value: data } }),
      onStarted: (command) =>
        void feed(inputs, command, (total) => {
          void events.put({ event: { case: "stdinAccepted", value: BigInt(total) } });
        }),
    },
    signal,
  );
  work.then(
    (result) => events.end({ event: { case: "result", value: toResult(spec?.environment ?? "", result) } }),
    (error: unknown) => events.fail(error),
  );
  try {
    yield* events;
  } finally {
    // The caller left, or all was said: either way the machine is gone before this call ends.
    await work.catch(() => undefined);
  }
}

/** @throws {PyroError} INVALID_ARGUMENT */
function toSpec(spec: RunSpec | undefined): OneShotSpec {
  if (spec === undefined || spec.environment === "") {
    throw new PyroError("INVALID_ARGUMENT", "no environment is given", {
      hint: "`pyro env list` shows them",
    });
  }
  return {
    environment: spec.environment,
    argv: spec.argv,
    command: spec.command,
    env: spec.env,
    vcpuCount: bounded("vcpu_count", spec.vcpuCount || DEFAULT_MACHINE.vcpuCount, 1, LIMITS.vcpuCountMax),
    memMib: bounded("mem_mib", spec.memMib || DEFAULT_MACHINE.memMib, LIMITS.memMibMin, LIMITS.memMibMax),
    timeoutMs: spec.timeoutMs || undefined,
    ttlMs: spec.ttlMs || undefined,
    network: toPolicy(spec.network),
    noPull: spec.noPull,
  };
}

function toPhase({ phase, message, progress }: Phase): { phase: string; message: string; progress: number } {
  return { phase, message, progress: progress ?? -1 };
}

function toResult(environment: string, result: OneShotResult): MessageInitShape<typeof CommandResultSchema> {
  const { exitCode, signal, durationUs, startupUs, stdoutBytes, stderrBytes, ...rest } = result;
  return {
    environment,
    ...(exitCode === undefined ? {} : { exitCode }),
    signal: signal ?? "",
    durationUs: BigInt(Math.round(durationUs)),
    startupUs: BigInt(Math.round(startupUs)),
    stdoutBytes: BigInt(stdoutBytes),
    stderrBytes: BigInt(stderrBytes),
    ...rest,
  };
}

/** A started run as the wire carries it. */
export function record({
  runId,
  environment,
  state,
  output,
}: RunView): MessageInitShape<typeof RunRecordSchema> {
  const common = { runId, ...(output === undefined ? {} : { output: toRunOutput(output) }) };
  switch (state.state) {
    case "starting":
      return create(RunRecordSchema, { ...common, state: WireState.STARTING, phase: toPhase(state.phase) });
    case "running":
      return create(RunRecordSchema, { ...common, state: WireState.RUNNING, phase: toPhase(state.phase) });
    case "done":
      return create(RunRecordSchema, {
        ...common,
        state: WireState.DONE,
        result: toResult(environment, state.result),
      });
    case "failed":
      return create(RunRecordSchema, { ...common, state: WireState.FAILED, error: errorDetail(state.error) });
  }
}
