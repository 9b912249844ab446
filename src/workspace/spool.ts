import { open, type FileHandle } from "node:fs/promises";

/** Where a spool's bytes lie: a flat area of `Spool.limitBytes`. */
export interface SpoolStore extends AsyncDisposable {
  write(position: number, data: Uint8Array): Promise<void>;
  read(position: number, length: number): Promise<Uint8Array>;
}

/** What a reader sees of a spool from an offset on: `[head][cut][tail]`. */
export interface SpoolWindow {
  readonly offset: number;
  readonly head: Uint8Array;
  /** Bytes between head and tail that this window leaves out. */
  readonly cutBytes: number;
  readonly tail: Uint8Array;
  /** Where to read on: after the head while something was cut, else the end of what there is. */
  readonly nextOffset: number;
}

/** Bytes of a spool that follow each other. */
export interface SpoolPart {
  /** Bytes between the offset that was asked for and `data` which are not kept. */
  readonly skippedBytes: number;
  /** Empty: there is no more yet. */
  readonly data: Uint8Array;
}

/**
 * A bounded record of a byte stream of any length: its first half-limit and its last half-limit are kept, what lay
 * between is dropped and counted exactly. The second half of the area is a ring.
 */
export class Spool implements AsyncDisposable {
  readonly #store: SpoolStore;
  readonly #headBytes: number;
  readonly #ringBytes: number;
  #total: number;

  /** `totalBytes` is what a store that is opened again had taken in. */
  constructor(
    store: SpoolStore,
    readonly limitBytes: number,
    totalBytes = 0,
  ) {
    this.#store = store;
    this.#total = totalBytes;
    this.#headBytes = Math.floor(limitBytes / 2);
    this.#ringBytes = limitBytes - this.#headBytes;
  }

  /** All bytes that were ever appended. */
  get totalBytes(): number {
    return this.#total;
  }

  get droppedBytes(): number {
    return Math.max(0, this.#total - this.limitBytes);
  }

  /** Appends; resolves when the bytes are stored. One append at a time. */
  async append(data: Uint8Array): Promise<void> {
    // Of one piece longer than the ring only the end would survive: skip what is overwritten at once.
    let at = this.#total;
    const end = at + data.length;
    let rest = data;
    if (at < this.#headBytes) {
      const part = rest.subarray(0, this.#headBytes - at);
      await this.#store.write(at, part);
      rest = rest.subarray(part.length);
      at += part.length;
    }
    if (rest.length > this.#ringBytes) {
      at += rest.length - this.#ringBytes;
      rest = rest.subarray(-this.#ringBytes);
    }
    while (rest.length > 0) {
      const slot = (at - this.#headBytes) % this.#ringBytes;
      const part = rest.subarray(0, this.#ringBytes - slot);
      await this.#store.write(this.#headBytes + slot, part);
      rest = rest.subarray(part.length);
      at += part.length;
    }
    this.#total = end;
  }

  /** Takes back what was appended last, all within the last append: it is appended again, or never was. */
  takeBack(totalBytes: number): void {
    this.#total = totalBytes;
  }

  /** At most `maxBytes` of what is kept from `offset` on: all of it, or its first and its last half. */
  async window(offset: number, maxBytes: number): Promise<SpoolWindow> {
    const total = this.#total;
    const from = Math.min(offset, total);
    const headEnd = Math.min(this.#headBytes, total);
    const ringStart = Math.max(headEnd, total - this.#ringBytes);
    const early = { start: Math.min(from, headEnd), end: headEnd };
    const late = { start: Math.max(from, ringStart), end: total };
    const kept = early.end - early.start + (late.end - late.start);
    const gap = total - from - kept;
    const whole = kept <= maxBytes;
    // With nothing dropped and room for all, everything is head; otherwise split at the gap or in half.
    const headLength = whole ? (gap === 0 ? kept : early.end - early.start) : Math.ceil(maxBytes / 2);
    const tailLength = whole ? kept - headLength : Math.floor(maxBytes / 2);
    const head = await this.#readKept(early, late, 0, headLength);
    const tail = await this.#readKept(early, late, kept - tailLength, tailLength);
    const cutBytes = total - from - headLength - tailLength;
    const next = whole ? total : afterSkip(early, late, headLength);
    return { offset: from, head, cutBytes, tail, nextOffset: next };
  }

  /** The first bytes at or after `offset` that are kept, at most `maxBytes`. */
  async readOn(offset: number, maxBytes: number): Promise<SpoolPart> {
    const total = this.#total;
    const headEnd = Math.min(this.#headBytes, total);
    const ringStart = Math.max(headEnd, total - this.#ringBytes);
    const from = offset < headEnd ? offset : Math.max(offset, ringStart);
    const length = Math.min(maxBytes, (from < headEnd ? headEnd : total) - from);
    if (length <= 0) return { skippedBytes: 0, data: new Uint8Array() };
    return { skippedBytes: from - offset, data: Buffer.concat(await this.#readRange(from, length)) };
  }

  /** `length` bytes at `skip` of the two kept ranges laid end to end. */
  async #readKept(early: Range, late: Range, skip: number, length: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (const range of [early, late]) {
      const size = range.end - range.start;
      const start = Math.min(skip, size);
      const take = Math.min(length, size - start);
      if (take > 0) parts.push(...(await this.#readRange(range.start + start, take)));
      skip -= start;
      length -= take;
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  }

  async #readRange(offset: number, length: number): Promise<Uint8Array[]> {
    if (offset < this.#headBytes) return [await this.#store.read(offset, length)];
    const slot = (offset - this.#headBytes) % this.#ringBytes;
    const first = Math.min(length, this.#ringBytes - slot);
    const parts = [await this.#store.read(this.#headBytes + slot, first)];
    if (first < length) parts.push(await this.#store.read(this.#headBytes, length - first));
    return parts;
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#store[Symbol.asyncDispose]();
  }
}

/** The offset that lies `skip` bytes into the two kept ranges laid end to end. */
function afterSkip(early: Range, late: Range, skip: number): number {
  const earlyBytes = early.end - early.start;
  return skip < earlyBytes ? early.start + skip : late.start + (skip - earlyBytes);
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** A store in a file, which is made anew or, with `reopen`, used as it is; the caller removes it. */
export async function fileStore(path: string, reopen = false): Promise<SpoolStore> {
  return storeOn(await open(path, reopen ? "r+" : "wx+", 0o600));
}

function storeOn(file: FileHandle): SpoolStore {
  let closed: Promise<void> | undefined;
  return {
    write: async (position, data) => {
      for (let done = 0; done < data.length;) {
        const { bytesWritten } = await file.write(data, done, data.length - done, position + done);
        done += bytesWritten;
      }
    },
    read: async (position, length) => {
      const buffer = Buffer.alloc(length);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await file.read(buffer, done, length - done, position + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return buffer.subarray(0, done);
    },
    [Symbol.asyncDispose]: () => (closed ??= file.close()),
  };
}
