import type { PyroError } from "../protocol/index.js";
import type { RunOutput } from "../protocol/gen/pyro/daemon/v1/command_pb.js";
import type { RunState, RunRecord as WireRecord } from "../protocol/gen/pyro/daemon/v1/run_pb.js";
import { fromDetail } from "./call.js";
import { toOutcome, type CommandOutcome } from "./run-result.js";
import { toPhase, type RunPhase } from "./run-stream.js";

/** A window of what a started run wrote, both streams in the order of arrival. */
export interface RunWindow {
  /** Of the window's first byte in the whole output. */
  readonly offset: number;
  readonly head: Uint8Array;
  /** Bytes between `head` and `tail` that are not in this window. */
  readonly cutBytes: number;
  readonly tail: Uint8Array;
  /** Where to read on. */
  readonly nextOffset: number;
  readonly totalBytes: number;
  /** Bytes that the daemon's own bound dropped for good. */
  readonly droppedBytes: number;
  /** The streams apart, each within the same bound. */
  readonly stdout: StreamWindow;
  readonly stderr: StreamWindow;
}

export interface StreamWindow {
  readonly data: Uint8Array;
  readonly truncated: boolean;
  readonly totalBytes: number;
}

/** A run that goes on without its caller. */
export type RunRecord = { readonly runId: string; readonly output: RunWindow | null } & (
  | { readonly state: "starting" | "running"; readonly phase: RunPhase }
  | { readonly state: "done"; readonly result: CommandOutcome }
  | { readonly state: "failed"; readonly error: PyroError }
);

/** By number: naming the members would load the description of the service, whatever is called. */
const UNFINISHED: Partial<Record<RunState, "starting" | "running">> = { 1: "starting", 2: "running" };

/** The record as the daemon sent it. */
export function toRecord(record: WireRecord): RunRecord {
  const common = {
    runId: record.runId,
    output: record.output === undefined ? null : toWindow(record.output),
  };
  if (record.result !== undefined) return { ...common, state: "done", result: toOutcome(record.result) };
  if (record.error !== undefined) return { ...common, state: "failed", error: fromDetail(record.error) };
  const phase = toPhase(record.phase ?? { phase: "queued", message: "", progress: -1 });
  return { ...common, state: UNFINISHED[record.state] ?? "starting", phase };
}

/** A window as the daemon sent it. */
export function toWindow(output: RunOutput): RunWindow {
  return {
    offset: Number(output.offset),
    head: output.head,
    cutBytes: Number(output.cutBytes),
    tail: output.tail,
    nextOffset: Number(output.nextOffset),
    totalBytes: Number(output.totalBytes),
    droppedBytes: Number(output.droppedBytes),
    stdout: {
      data: output.stdout,
      truncated: output.stdoutTruncated,
      totalBytes: Number(output.stdoutBytes),
    },
    stderr: {
      data: output.stderr,
      truncated: output.stderrTruncated,
      totalBytes: Number(output.stderrBytes),
    },
  };
}
