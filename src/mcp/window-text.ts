import { formatBytes } from "../operations/index.js";
import { fitHead, fitTail, toGuestText, type GuestText } from "./guest-text.js";

/** Bytes of the guest, as they are to be shown: a beginning, and an end with something left out between. */
export interface TextWindow {
  /** Of the first byte in the whole. */
  readonly offset: number;
  readonly head: Uint8Array;
  readonly cutBytes: number;
  readonly tail: Uint8Array;
  readonly totalBytes: number;
  /** Bytes that were never kept. */
  readonly droppedBytes: number;
}

/** Our words about a window, and beside them what the guest wrote: two blocks that never mix. */
export interface WindowText {
  readonly lines: readonly string[];
  readonly guest: string;
  /** Where the next call reads on. */
  readonly nextOffset: number;
  readonly shownBytes: number;
}

/** Kept of the text budget for our own words. */
const WORDS_BYTES = 800;

/** How long a call that waits is told to wait, in seconds. */
export const WAIT_SECONDS = 40;

/**
 * Head and tail of a window within the budget. The cut is counted, and followed by the call that reads on.
 * @param what of the guest's: "output", "file", "diff"
 */
export function windowText(
  window: TextWindow | null,
  budgetBytes: number,
  { what, readOn }: { readonly what: string; readonly readOn: (offset: number) => string },
): WindowText {
  const room = budgetBytes >= 2 * WORDS_BYTES ? budgetBytes - WORDS_BYTES : budgetBytes;
  const shown = window === null ? NOTHING : show(window, room);
  return {
    lines: [`${what}: ${describeShown(shown)}`, ...notes(shown, readOn)],
    guest: shown.text,
    nextOffset: shown.nextOffset,
    shownBytes: shown.shownBytes,
  };
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
function show(window: TextWindow, budgetBytes: number): Shown {
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

function notes(shown: Shown, readOn: (offset: number) => string): string[] {
  const lines: string[] = [];
  if (shown.cut !== undefined) {
    const { afterLine, bytes, tailFrom } = shown.cut;
    const at = afterLine > 0 ? `after line ${afterLine} of the text below` : "inside the first line below";
    lines.push(
      `cut: ${bytes} bytes are left out ${at}; it goes on there with byte ${tailFrom}`,
      `next: ${readOn(shown.nextOffset)}`,
    );
  }
  if (shown.dropped > 0) lines.push(`${formatBytes(shown.dropped)} in the middle were not kept`);
  if (shown.removed > 0) lines.push(`${shown.removed} control characters and escape sequences were removed`);
  if (shown.escaped > 0) lines.push(`${shown.escaped} invisible characters are shown as \\u{…}`);
  return lines;
}

function describeShown({ total, offset, shownBytes, cut }: Shown): string {
  if (total === 0) return "none";
  if (offset === 0 && cut === undefined) return `${total} bytes, all below`;
  if (shownBytes === 0) return `${total} bytes, none after byte ${offset}`;
  return `${total} bytes; ${shownBytes} of them from byte ${offset} on below`;
}
