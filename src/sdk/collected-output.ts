import { completeUtf8Prefix, completeUtf8Suffix } from "./utf8.js";

/** Keeps the head and the tail of a stream within a bound, and counts the rest. */
export class CollectedOutput {
  readonly #half: number;
  readonly #head: Uint8Array[] = [];
  #headBytes = 0;
  #tail: Uint8Array[] = [];
  #tailBytes = 0;
  #total = 0;

  constructor(maxBytes: number) {
    this.#half = Math.floor(maxBytes / 2);
  }

  add(chunk: Uint8Array): void {
    this.#total += chunk.length;
    const room = this.#half - this.#headBytes;
    const first = chunk.subarray(0, Math.max(room, 0));
    if (first.length > 0) this.#head.push(first);
    this.#headBytes += first.length;
    const rest = chunk.subarray(first.length);
    if (rest.length === 0) return;
    this.#tail.push(rest);
    this.#tailBytes += rest.length;
    // Trimmed at twice the bound, so that small chunks cost no copy each.
    if (this.#tailBytes > 2 * this.#half) this.#trim();
  }

  #trim(): void {
    const all = Buffer.concat(this.#tail);
    // Not by a negative offset: a bound of 0 would keep everything.
    const kept = all.subarray(all.length - Math.min(this.#half, all.length));
    this.#tail = [Buffer.from(kept)];
    this.#tailBytes = kept.length;
  }

  /** The text: invalid UTF-8 becomes U+FFFD, a character that the cut would split is left out. */
  finish(): { text: string; truncated: boolean; totalBytes: number } {
    if (this.#tailBytes > this.#half) this.#trim();
    const head = Buffer.concat(this.#head);
    const tail = Buffer.concat(this.#tail);
    const truncated = this.#total > head.length + tail.length;
    const text = truncated
      ? decode(completeUtf8Prefix(head)) + decode(completeUtf8Suffix(tail))
      : decode(Buffer.concat([head, tail]));
    return { text, truncated, totalBytes: this.#total };
  }
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}
