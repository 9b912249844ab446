import { CHANNEL, HEADER_BYTES, scan } from "./frame.js";

const EMPTY = Buffer.alloc(0);

/** Makes whole payloads of one epoch out of the chunks of a socket; foreign frames and garbage are counted. */
export class FrameReader {
  /** Bytes that are not parsed yet: fewer than a header's. */
  #rest = EMPTY;
  /** The payload that has begun: its channel (-1 drops it), what is there, and what is to come. */
  #channel = -1;
  #parts: Buffer[] = [];
  #remaining = 0;

  constructor(
    private readonly epoch: number,
    private readonly counters: { skippedBytes: number; droppedFrames: number },
    private readonly deliver: (channel: number, payload: Buffer) => void,
  ) {}

  read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = EMPTY;
    let at = 0;
    while (at < bytes.length) {
      if (this.#remaining > 0) {
        at = this.#continue(bytes, at);
        continue;
      }
      const { skipped, header } = scan(bytes, at);
      at += skipped;
      this.counters.skippedBytes += skipped;
      if (header === undefined) {
        this.#rest = Buffer.from(bytes.subarray(at));
        return;
      }
      at += HEADER_BYTES;
      // The agent answers every HELLO; the first answer opened the epoch.
      if (header.kind === "hello") continue;
      this.#channel = header.epoch === this.epoch ? header.channel : -1;
      if (this.#channel < 0) this.counters.droppedFrames += 1;
      this.#remaining = header.length;
      if (header.length === 0) this.#finish(EMPTY);
    }
  }

  #continue(bytes: Buffer, at: number): number {
    const part = bytes.subarray(at, at + this.#remaining);
    this.#remaining -= part.length;
    if (this.#channel === CHANNEL.probe) this.deliver(this.#channel, part);
    else if (this.#remaining === 0 && this.#parts.length === 0) this.#finish(part);
    else if (this.#channel >= 0) {
      this.#parts.push(part);
      if (this.#remaining === 0) {
        const whole = Buffer.concat(this.#parts);
        this.#parts = [];
        this.#finish(whole);
      }
    }
    return at + part.length;
  }

  #finish(payload: Buffer): void {
    if (this.#channel >= 0) this.deliver(this.#channel, payload);
  }
}
