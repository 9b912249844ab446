import { CHANNEL, HEADER_BYTES, scan } from "./frame.js";

const EMPTY = Buffer.alloc(0);

/**
 * Makes whole payloads of one epoch out of the chunks of a socket; foreign frames and garbage are counted. A payload is a
 * copy, but that of the probe channel, which comes in parts: the chunk is the caller's again when `read` returns.
 */
export class FrameReader {
  /** Bytes that are not parsed yet: fewer than a header's. */
  #rest = EMPTY;
  /** The payload that has begun: its channel (-1 drops it), its bytes, and how many of them are to come. */
  #channel = -1;
  #payload = EMPTY;
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
      const isKept = this.#channel >= 0 && this.#channel !== CHANNEL.probe;
      this.#payload = isKept ? Buffer.allocUnsafe(header.length) : EMPTY;
      if (header.length === 0) this.#finish();
    }
  }

  #continue(bytes: Buffer, at: number): number {
    const part = bytes.subarray(at, at + this.#remaining);
    if (this.#channel === CHANNEL.probe) this.deliver(this.#channel, part);
    else if (this.#channel >= 0) part.copy(this.#payload, this.#payload.length - this.#remaining);
    this.#remaining -= part.length;
    if (this.#remaining === 0 && this.#channel !== CHANNEL.probe) this.#finish();
    return at + part.length;
  }

  #finish(): void {
    const payload = this.#payload;
    this.#payload = EMPTY;
    if (this.#channel >= 0) this.deliver(this.#channel, payload);
  }
}
