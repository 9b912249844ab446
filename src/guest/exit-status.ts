import type { ExitStatus } from "../protocol/gen/pyro/guest/v1/guest_pb.js";

/** How a command ended; exactly one of `exitCode` and `signal` is there. */
export interface ProcessExit {
  /** 0 to 255. */
  readonly exitCode: number | undefined;
  /** For example "SIGKILL". */
  readonly signal: string | undefined;
  readonly timedOut: boolean;
  readonly outOfMemory: boolean;
  /** Wall time from fork to exit, in the guest's own measure. */
  readonly durationUs: number;
  /** All that the command wrote, as the host counted it. */
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** What of it was dropped before it could be read. */
  readonly stdoutDroppedBytes: number;
  readonly stderrDroppedBytes: number;
}

/** What the host itself counted of one stream. */
export interface Counted {
  readonly end: number;
  readonly dropped: number;
}

const IMPOSSIBLE_EXIT_CODE = 255;

/** The agent's word, brought into the range of what can be: an agent may be hostile. Byte counts are the host's own. */
export function toProcessExit(status: ExitStatus, stdout: Counted, stderr: Counted): ProcessExit {
  const signal = /^SIG[A-Z0-9+-]{1,12}$/.test(status.signal) ? status.signal : undefined;
  const code = status.code <= IMPOSSIBLE_EXIT_CODE ? status.code : IMPOSSIBLE_EXIT_CODE;
  // A signal that is no name came from an agent that lies: the command certainly did not succeed.
  const exitCode = status.signal === "" ? code : IMPOSSIBLE_EXIT_CODE;
  return {
    exitCode: signal === undefined ? exitCode : undefined,
    signal,
    timedOut: status.timedOut,
    outOfMemory: status.outOfMemory,
    durationUs: clamp(status.durationUs),
    stdoutBytes: stdout.end,
    stderrBytes: stderr.end,
    stdoutDroppedBytes: stdout.dropped,
    stderrDroppedBytes: stderr.dropped,
  };
}

function clamp(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
}
