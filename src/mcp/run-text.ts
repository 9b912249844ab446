import { formatDuration } from "../operations/index.js";
import type { CommandOutcome, RunRecord } from "../sdk/index.js";
import { WAIT_SECONDS, windowText } from "./window-text.js";

/** Our words about a run, and beside them what the guest wrote: two blocks that never mix. */
export interface BulkText {
  readonly words: string;
  readonly guest: string;
  /** Where the next call reads on. */
  readonly nextOffset: number;
  readonly shownBytes: number;
}

/** The text of a started run's record. `timeoutSeconds` is known where this server started the run. */
export function runText(
  record: RunRecord,
  budgetBytes: number,
  timeoutSeconds: number | undefined,
): BulkText {
  const readOn = (offset: number): string => `vm_run(run_id="${record.runId}", offset=${offset})`;
  const { lines, ...window } = windowText(record.output, budgetBytes, { what: "output", readOn });
  const goesOn = record.state === "starting" || record.state === "running";
  const wait = `next: vm_run(run_id="${record.runId}", offset=${window.nextOffset}, wait_seconds=${WAIT_SECONDS})`;
  const words = [...statusLines(record, timeoutSeconds), ...lines, ...(goesOn ? [wait] : [])];
  return { ...window, words: words.join("\n") };
}

function statusLines(record: RunRecord, timeoutSeconds: number | undefined): string[] {
  if (record.state === "failed") return [`${record.error.code}: ${record.error.message}`];
  if (record.state !== "done") {
    const { phase, message, progress } = record.phase;
    const percent = progress === null ? "" : ` (${Math.floor(progress * 100)} %)`;
    return ["still running", phase === "running" ? "the command runs" : `${phase}: ${message}${percent}`];
  }
  return endLines(record.result, `in a fresh VM of ${record.result.environment}`, timeoutSeconds);
}

/** The first line is the contract's: `exit 1`, `killed SIGKILL`, `timed out after 30 s`. */
export function endLines(
  result: CommandOutcome,
  where: string,
  timeoutSeconds: number | undefined,
): string[] {
  const isolation = result.isolation === "kvm" ? "KVM" : "software emulation";
  const took = `${formatDuration(result.durationMs)} ${where} (${isolation})`;
  const memory = result.outOfMemory ? ["the guest ran out of memory: mem_mib gives it more"] : [];
  if (result.timedOut) {
    const seconds = timeoutSeconds ?? Math.floor(result.durationMs / 1000);
    return [`timed out after ${seconds} s`, `${took}; timeout_seconds sets the limit`, ...memory];
  }
  const first = result.signal === null ? `exit ${result.exitCode ?? "?"}` : `killed ${result.signal}`;
  return [first, took, ...memory];
}
