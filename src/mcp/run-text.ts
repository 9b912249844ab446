import { formatBytes, formatDuration } from "../operations/index.js";
import type { RunRecord, RunWindow } from "../sdk/index.js";
import { fitHead, fitTail, toGuestText, type GuestText } from "./guest-text.js";

/** Our words about a run, and beside them what the guest wrote: two blocks that never mix. */
export interface RunText {
  readonly words: string;
  readonly guest: string;
  /** Where the next call reads on. */
  readonly nextOffset: number;
  readonly shownBytes: number;
}

/** Kept of the text budget for our own words. */
const WORDS_BYTES = 800;
const WAIT_SECONDS = 40;

/** The text of a started run's record. `timeoutSeconds` is known where this server started the run. */
export function runText(record: RunRecord, budgetBytes: number, timeoutSeconds: number | undefined): RunText {
  const shown = record.output === null ? NOTHING : show(record.output, budgetBytes - WORDS_BYTES);
  const lines = [...statusLines(record, timeoutSeconds), ...outputLines(record, shown)];
  return {
    words: lines.join("\n"),
    guest: shown.text,
    nextOffset: shown.nextOffset,
    shownBytes: shown.shownBytes,
  };
}

/** The first line is the contract's: `exit 1`, `killed SIGKILL`, `timed out after 30 s`, `still running`. */
function statusLines(record: RunRecord, timeoutSeconds: number | undefined): string[] {
  if (record.state === "failed") return [`${record.error.code}: ${record.error.message}`];
  if (record.state !== "done") {
    const { phase, message, progress } = record.phase;
    const percent = progress === null ? "" : ` (${Math.floor(progress * 100)} %)`;
    return ["still running", phase === "running" ? "the command runs" : `${phase}: ${message}${percent}`];
  }
  const { result } = record;
  const where = `in a fresh VM of ${result.environment} (${result.isolation === "kvm" ? "KVM" : "software emulation"})`;
  const took = `${formatDuration(result.durationMs)} ${where}`;
  const memory = result.outOfMemory ? ["the guest ran out of memory: mem_mib gives it more"] : [];
  if (result.timedOut) {
    const seconds = timeoutSeconds ?? Math.floor(result.durationMs / 1000);
    return [`timed out after ${seconds} s`, `${took}; timeout_seconds sets the limit`, ...memory];
  }
  const first = result.signal === null ? `exit ${result.exitCode ?? "?"}` : `killed ${result.signal}`;
  return [first, took, ...memory];
}

interface Shown extends GuestText {
  readonly nextOffset: number;
  readonly shownBytes: number;
  /** Lines of the text before the cut; undefined where nothing is cut. */
  readonly cut: { readonly afterLine: number; readonly bytes: number; readonly tailFrom: number } | undefined;
  readonly total: number;
  readonly offset: number;
  readonly dropped: number;
}

const NOTHING: Shown = {
  text: "",
  removed: 0,
  escaped: 0,
  nextOffset: 0,
  shownBytes: 0,
  cut: undefined,
  total: 0,
  offset: 0,
  dropped: 0,
};

/** Head and tail of the window, within the budget; what the daemon cut and what we cut are one cut. */
function show(window: RunWindow, budgetBytes: number): Shown {
  const { offset, totalBytes: total, droppedBytes: dropped } = window;
  const whole = window.cutBytes === 0 ? Buffer.concat([window.head, window.tail]) : undefined;
  if (whole !== undefined) {
    const safe = toGuestText(whole);
    if (Buffer.byteLength(safe.text) <= budgetBytes) {
      return {
        ...safe,
        nextOffset: offset + whole.length,
        shownBytes: whole.length,
        cut: undefined,
        total,
        offset,
        dropped,
      };
    }
  }
  const half = Math.floor(budgetBytes / 2);
  const head = fitHead(whole ?? window.head, half);
  const rest = whole === undefined ? window.tail : whole.subarray(head.rawBytes);
  const tail = fitTail(rest, half);
  const shownBytes = head.rawBytes + tail.rawBytes;
  const between = (whole?.length ?? window.head.length + window.cutBytes + window.tail.length) - shownBytes;
  const tailFrom = offset + head.rawBytes + between;
  return {
    text: head.text + tail.text,
    removed: head.removed + tail.removed,
    escaped: head.escaped + tail.escaped,
    nextOffset: offset + head.rawBytes,
    shownBytes,
    cut: { afterLine: head.text.split("\n").length - 1, bytes: between, tailFrom },
    total,
    offset,
    dropped,
  };
}

function outputLines(record: RunRecord, shown: Shown): string[] {
  const lines = [`output: ${describeShown(shown)}`];
  if (shown.cut !== undefined) {
    const at =
      shown.cut.afterLine > 0
        ? `after line ${shown.cut.afterLine} of the text below`
        : "inside the first line below";
    lines.push(
      `cut: ${shown.cut.bytes} bytes are left out ${at}; it goes on there with byte ${shown.cut.tailFrom}`,
      `next: vm_run(run_id="${record.runId}", offset=${shown.nextOffset})`,
    );
  }
  if (shown.dropped > 0) lines.push(`${formatBytes(shown.dropped)} in the middle were not kept`);
  if (shown.removed > 0) lines.push(`${shown.removed} control characters and escape sequences were removed`);
  if (shown.escaped > 0) lines.push(`${shown.escaped} invisible characters are shown as \\u{…}`);
  if (record.state === "starting" || record.state === "running") {
    lines.push(
      `next: vm_run(run_id="${record.runId}", offset=${shown.nextOffset}, wait_seconds=${WAIT_SECONDS})`,
    );
  }
  return lines;
}

function describeShown({ total, offset, shownBytes, cut }: Shown): string {
  if (total === 0) return "none";
  if (offset === 0 && cut === undefined) return `${total} bytes, all below`;
  if (shownBytes === 0) return `${total} bytes, none after byte ${offset}`;
  return `${total} bytes; ${shownBytes} of them from byte ${offset} on below`;
}
