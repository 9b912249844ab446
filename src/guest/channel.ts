import { Duplex } from "node:stream";

/** Takes the next bytes to send; the link calls it when it is the channel's turn. */
interface Pending {
  readonly parts: Buffer[];
  readonly done: () => void;
}

/** One frame's worth of a channel: what to write, and what to tell the writers once the socket has it. */
export interface Payload {
  readonly parts: readonly Buffer[];
  readonly length: number;
  readonly done: readonly (() => void)[];
}

/** What a stream over the link holds of its writer's bytes before it asks to wait. */
const WRITE_AHEAD_BYTES = 128 * 1024;

/** One channel of one epoch as a stream; HTTP/2 runs on it. */
export class Channel extends Duplex {
  readonly #wake: () => void;
  #pending: Pending[] = [];

  constructor(wake: () => void) {
    super({ writableHighWaterMark: WRITE_AHEAD_BYTES, allowHalfOpen: true });
    this.#wake = wake;
  }

  get hasPending(): boolean {
    return this.#pending.length > 0;
  }

  /** At most `limit` bytes of what waits to be sent; whole parts are passed on, never copied. */
  nextPayload(limit: number): Payload {
    const parts: Buffer[] = [];
    const done: (() => void)[] = [];
    let length = 0;
    let used = 0;
    for (const pending of this.#pending) {
      while (pending.parts.length > 0 && length < limit) {
        const part = pending.parts[0] as Buffer;
        const room = limit - length;
        if (part.length <= room) {
          parts.push(part);
          length += part.length;
          pending.parts.shift();
        } else {
          parts.push(part.subarray(0, room));
          pending.parts[0] = part.subarray(room);
          length = limit;
        }
      }
      if (pending.parts.length > 0) break;
      done.push(pending.done);
      used += 1;
    }
    this.#pending.splice(0, used);
    return { parts, length, done };
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#pending.push({ parts: [chunk], done });
    this.#wake();
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#pending.push({ parts: chunks.map(({ chunk }) => chunk), done });
    this.#wake();
  }

  /** The peer of this stream reads what arrives at its own pace; the windows of HTTP/2 bound what waits here. */
  override _read(): void {
    // Nothing to ask for: the link pushes.
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#pending = [];
    callback(error);
  }
}
