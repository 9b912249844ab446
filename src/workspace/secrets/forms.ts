import { LIMITS } from "../../protocol/index.js";

/** What is looked for: bytes as they are (or percent-encoded), and base64 in the standard alphabet without padding. */
export interface Forms {
  readonly plain: readonly Uint8Array[];
  readonly base64: readonly Uint8Array[];
}

const NEWLINE = 0x0a;

/** The forms of secrets' values: each as a whole, and of those with several lines each line that is long enough. */
export function formsOf(values: readonly Uint8Array[]): Forms {
  const parts = new Map<string, Buffer>();
  const keep = (part: Buffer): void => void parts.set(part.toString("latin1"), part);
  for (const value of values) {
    const whole = essenceOf(value);
    keep(whole);
    if (!whole.includes(NEWLINE)) continue;
    const text = whole.toString("latin1");
    // As a terminal, or a checkout on Windows, has it.
    keep(Buffer.from(text.replace(/\r?\n/g, "\r\n"), "latin1"));
    for (const line of text.split("\n").map((each) => essenceOf(Buffer.from(each, "latin1"))))
      if (line.length >= LIMITS.secretLineBytes) keep(line);
  }
  return { plain: [...parts.values()].flatMap(asText), base64: [...parts.values()].flatMap(asBase64) };
}

/**
 * A value without the white space around it: that is no secret, and a value that begins with a line's end would hold the
 * end of each line back.
 */
export function essenceOf(value: Uint8Array): Buffer {
  const bytes = Buffer.from(value);
  let [start, end] = [0, bytes.length];
  while (start < end && isSpace(bytes[start])) start++;
  while (end > start && isSpace(bytes[end - 1])) end--;
  return bytes.subarray(start, end);
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || (byte !== undefined && byte >= 0x09 && byte <= 0x0d);
}

/** As bytes, and, where it is no UTF-8, as it becomes when somebody takes it for text. */
function asText(part: Buffer): Buffer[] {
  const text = Buffer.from(part.toString("utf8"));
  return text.equals(part) ? [part] : [part, text];
}

/**
 * What of a value's base64 does not depend on its neighbours, for each of the three places that it may have in a longer
 * text. The characters at both ends that it shares with a neighbour hold at most 4 bits of it.
 */
function asBase64(part: Buffer): Buffer[] {
  return [0, 1, 2].map((before) => {
    const encoded = Buffer.concat([Buffer.alloc(before), part]).toString("base64");
    const from = Math.ceil((before * 8) / 6);
    return Buffer.from(encoded.slice(from, Math.floor(((before + part.length) * 8) / 6)));
  });
}
