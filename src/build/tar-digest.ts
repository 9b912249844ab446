import { createHash } from "node:crypto";
import { TAR_BLOCK, tarPadding } from "../kit/index.js";
import { decodeHeader } from "../workspace/index.js";

/** Where a header has the name, the time and the checksum (POSIX.1-1988 ustar). */
const NAME = [0, 100] as const;
const TIME = [136, 148] as const;
const CHECKSUM = [148, 156] as const;

/**
 * A digest of what a tar of ours holds, as it passes: names, kinds, modes, owners, link targets and contents, but no
 * times, so that another checkout of the same files is the same.
 */
export class TarDigest {
  readonly #hash = createHash("sha256");
  readonly #block = Buffer.alloc(TAR_BLOCK);
  readonly #isNamed: boolean;
  #filled = 0;
  /** Bytes up to the next header, and whether they count. */
  #left = 0;
  #counts = true;

  /** `isNamed: false`: what it holds is called so by its destination, which is said elsewhere. */
  constructor({ isNamed }: { readonly isNamed: boolean }) {
    this.#isNamed = isNamed;
  }

  update(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      const wanted = this.#left > 0 ? this.#left : TAR_BLOCK - this.#filled;
      const part = chunk.subarray(at, at + wanted);
      at += part.length;
      if (this.#left > 0) {
        if (this.#counts) this.#hash.update(part);
        this.#left -= part.length;
      } else {
        this.#block.set(part, this.#filled);
        this.#filled += part.length;
        if (this.#filled === TAR_BLOCK) this.#header();
      }
    }
  }

  digest(): string {
    return this.#hash.digest("hex");
  }

  #header(): void {
    this.#filled = 0;
    // The end: two blocks of zeros.
    if (this.#block.every((byte) => byte === 0)) return;
    const { type, size } = decodeHeader(this.#block);
    this.#left = size + tarPadding(size);
    // "x" holds a time and nothing else (kit/tar.ts), "L" a long name.
    this.#counts = type !== "x" && (this.#isNamed || type !== "L");
    if (!this.#counts) return;
    for (const range of this.#isNamed ? [TIME, CHECKSUM] : [NAME, TIME, CHECKSUM])
      this.#block.fill(0, ...range);
    this.#hash.update(this.#block);
  }
}
