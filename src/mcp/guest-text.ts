import { completeUtf8Prefix, completeUtf8Suffix } from "../sdk/index.js";

/** Guest bytes made safe to show to a model. */
export interface GuestText {
  readonly text: string;
  /** Escape sequences and control characters that were taken out. */
  readonly removed: number;
  /** Invisible characters that are shown as `\u{…}` instead. */
  readonly escaped: number;
}

// ECMA-48: CSI, then OSC/DCS/SOS/PM/APC up to their terminator, then any other escape; C1 forms included.
const SEQUENCES =
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?|\u001b[ -/]*[0-~]/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
// Zero-width, bidirectional and tag characters, and variation selectors beyond the common ones: text nobody sees.
const INVISIBLE =
  /[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|[\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;

/**
 * Text for a model: what overwrites a line (progress bars) leaves its last state, escape sequences and control
 * characters go, invisible characters become visible. Invalid UTF-8 becomes U+FFFD.
 */
export function toGuestText(bytes: Uint8Array): GuestText {
  let removed = 0;
  let escaped = 0;
  const decoded = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const plain = decoded.replace(SEQUENCES, () => {
    removed++;
    return "";
  });
  const lines = plain.split("\n").map((line) => {
    const settled = settle(line);
    removed += settled.removed;
    return settled.text;
  });
  const text = lines
    .join("\n")
    .replace(CONTROLS, () => {
      removed++;
      return "";
    })
    .replace(INVISIBLE, (char) => {
      escaped++;
      return `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`;
    });
  return { text, removed, escaped };
}

/** What a line shows after its carriage returns and backspaces. */
function settle(line: string): { text: string; removed: number } {
  const parts = line.split("\r");
  while (parts.length > 1 && parts.at(-1) === "") parts.pop();
  let text = parts.at(-1) ?? "";
  let removed = parts.length - 1;
  for (let at = text.indexOf("\b"); at >= 0; at = text.indexOf("\b")) {
    text = text.slice(0, Math.max(at - 1, 0)) + text.slice(at + 1);
    removed++;
  }
  return { text, removed };
}

/** A part of the output that fits, with how many raw bytes it stands for. */
export interface Fitted extends GuestText {
  readonly rawBytes: number;
}

/** As much of the beginning as fits into the budget once it is made safe; ends at a line where one ends nearby. */
export function fitHead(bytes: Uint8Array, budgetBytes: number): Fitted {
  return fit(bytes, budgetBytes, (length) => {
    const part = completeUtf8Prefix(bytes.subarray(0, length));
    if (part.length === bytes.length) return part;
    const newline = part.lastIndexOf(0x0a);
    return newline >= part.length / 2 ? part.subarray(0, newline + 1) : part;
  });
}

/** The same from the end. */
export function fitTail(bytes: Uint8Array, budgetBytes: number): Fitted {
  return fit(bytes, budgetBytes, (length) => {
    const part = completeUtf8Suffix(bytes.subarray(bytes.length - length));
    if (part.length === bytes.length) return part;
    const newline = part.indexOf(0x0a);
    return newline >= 0 && newline < part.length / 2 ? part.subarray(newline + 1) : part;
  });
}

function fit(bytes: Uint8Array, budgetBytes: number, take: (length: number) => Uint8Array): Fitted {
  for (let length = Math.min(bytes.length, budgetBytes); ; length = Math.floor(length * 0.75)) {
    const part = take(length);
    const safe = toGuestText(part);
    // Escapes and replacement characters take more room than what they stand for.
    if (length === 0 || Buffer.byteLength(safe.text) <= budgetBytes)
      return { ...safe, rawBytes: part.length };
  }
}
