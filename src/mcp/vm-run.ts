import type { CallToolResult } from "@modelcontextprotocol/server";
import { parseInput, snakeKeys } from "../operations/index.js";
import { vmRun } from "../operations/vm/run.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { RunInVmOptions, RunRecord } from "../sdk/index.js";
import { bulkResult, windowFields } from "./result.js";
import { runText } from "./run-text.js";
import type { TimeLimits } from "./time-limits.js";
import { toolInput, type ToolCall, type ToolHandler, type ToolSetting } from "./tool.js";

/** The longest single wait on the daemon: progress is told in between. */
const SLICE_MS = 2_500;
/** Kept of the time bound for the answer itself. */
const ANSWER_MS = 1_000;
const CANCEL_MS = 5_000;

/** The handler of `vm_run`: starts a run or reads one, and never blocks longer than the bound. */
export function vmRunHandler(setting: ToolSetting, limits: TimeLimits): ToolHandler {
  const schema = toolInput(vmRun, setting);
  return async (args, call) => {
    const given = parseInput(vmRun, schema, args) as Omit<
      (typeof vmRun)["input"]["_output"],
      "env" | "no_pull"
    >;
    const end = performance.now() + call.blockMs - ANSWER_MS;
    if (given.run_id !== undefined) {
      refuseBoth(given);
      const until = Math.min(end, performance.now() + given.wait_seconds * 1000);
      return answerRun(await follow({ runId: given.run_id, offset: given.offset }, until, call), limits);
    }
    const started = await start(
      {
        environment: given.environment,
        command: given.command,
        argv: given.argv,
        vcpuCount: given.vcpu_count,
        memMib: given.mem_mib,
        timeoutSeconds: given.timeout_seconds,
        ttlSeconds: given.ttl_seconds,
        network: given.network && call.network,
      },
      call,
    );
    limits.remember(started.runId, given.timeout_seconds);
    return answerRun(await followOwnRun(started.runId, end, call), limits);
  };
}

function refuseBoth(given: {
  readonly command?: string | undefined;
  readonly argv?: readonly string[] | undefined;
}): void {
  if (given.command === undefined && given.argv === undefined) return;
  throw new PyroError(
    "INVALID_ARGUMENT",
    "run_id reads a run that was started before; it goes with neither command nor argv",
    {
      hint: "call vm_run with run_id alone to read on, or without it to start another command",
    },
  );
}

/** A caller that goes away before the answer never learns the run's id: then the run is of no use to anyone. */
async function start(options: RunInVmOptions, { pyro, signal, blockMs }: ToolCall): Promise<RunRecord> {
  const starting = pyro.startRun(options, { timeoutMs: blockMs });
  const record = await starting;
  if (signal.aborted) await cancelRun(record.runId, pyro);
  signal.throwIfAborted();
  return record;
}

/** Waits for a run of this call until it ends or the time is over; it ends with the call. */
export async function followOwnRun(runId: string, end: number, call: ToolCall): Promise<RunRecord> {
  try {
    return await follow({ runId, offset: 0 }, end, call);
  } catch (error) {
    if (call.signal.aborted) await cancelRun(runId, call.pyro);
    throw error;
  }
}

/** Ends a run that nobody will read; a failure of that is nobody's. */
export async function cancelRun(runId: string, pyro: ToolCall["pyro"]): Promise<void> {
  await pyro.cancelRun(runId, { timeoutMs: CANCEL_MS }).catch(() => undefined);
}

/** Reads the run until it ended or the time is over. */
async function follow(
  from: { runId: string; offset: number },
  end: number,
  call: ToolCall,
): Promise<RunRecord> {
  for (;;) {
    const left = Math.max(0, Math.round(end - performance.now()));
    const record = await call.pyro.readRun(
      { ...from, maxBytes: LIMITS.mcpTextBytes, waitMs: Math.min(left, SLICE_MS) },
      { signal: call.signal },
    );
    if (record.state === "failed") throw record.error;
    if (record.state === "done" || performance.now() >= end) return record;
    call.onProgress(
      record.phase.phase === "running"
        ? "the command runs"
        : `${record.phase.phase}: ${record.phase.message}`,
    );
  }
}

/** What a run came to, as `vm_run` says it. */
export function answerRun(record: RunRecord, limits: TimeLimits): CallToolResult {
  const text = runText(record, LIMITS.mcpTextBytes, limits.of(record.runId));
  const result = record.state === "done" ? (snakeKeys(record.result) as Record<string, unknown>) : {};
  const state = { run_id: record.runId, state: record.state, execution_mode: "guest" };
  return bulkResult(text, { ...state, ...result, ...windowFields(record.output, text) });
}
