/** Reads numbers and vectors in network order; what is not there in full is undefined, and so is all behind it. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Whether exactly everything was read. */
  isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  bytes(length: number): Uint8Array | undefined {
    const end = this.#at + length;
    if (end > this.#bytes.length) {
      // Past the end for good: nothing that follows may be read from the middle.
      this.#at = this.#bytes.length + 1;
      return undefined;
    }
    const found = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return found;
  }

  /** Of 1 to 4 bytes. */
  number(length: number): number | undefined {
    return this.bytes(length)?.reduce((value, byte) => value * 256 + byte, 0);
  }

  /** Bytes with their count before them, which has `length` bytes. */
  vector(length: number): Uint8Array | undefined {
    const size = this.number(length);
    return size === undefined ? undefined : this.bytes(size);
  }
}
