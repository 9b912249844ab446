import type { Socket } from "node:net";
import { CHANNEL, CHANNEL_COUNT, HEADER_BYTES, putDataHeader, dataHeader } from "./frame.js";

/** Unsent bytes of the socket, above which no bulk or probe frame is added; control and event frames always are. */
const BULK_UNSENT_BYTES = 128 * 1024;
/** A tail up to this size is copied behind its head: one write less. */
const COPY_BYTES = 4 * 1024;

interface Frame {
  readonly head: Buffer;
  readonly tail: Uint8Array | undefined;
}

/** Gives the socket frames: strictly by channel, bulk and probe only while little is unsent (LINK.md, rule 6). */
export class FrameWriter {
  readonly #queues: Frame[][] = Array.from({ length: CHANNEL_COUNT }, () => []);
  #waiting: (() => void)[] = [];
  readonly #pump = (): void => this.pump();

  constructor(
    private readonly socket: Socket,
    private readonly epoch: number,
  ) {}

  /** Sends a payload whose first part has HEADER_BYTES free at its begin. */
  send(channel: number, head: Buffer, tail?: Uint8Array): void {
    const length = head.length - HEADER_BYTES + (tail?.length ?? 0);
    putDataHeader(head, channel, this.epoch, length);
    if (channel < CHANNEL.bulk) this.#write(head, tail);
    else {
      this.#queues[channel]?.push({ head, tail });
      this.pump();
    }
  }

  /** Sends a payload, and resolves when there is room for another. */
  async flood(channel: number, payload: Buffer): Promise<void> {
    this.#queues[channel]?.push({ head: dataHeader(channel, this.epoch, payload.length), tail: payload });
    this.pump();
    if ((this.#queues[channel]?.length ?? 0) > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Nothing is sent any more, and nobody waits. */
  end(): void {
    for (const queue of this.#queues) queue.length = 0;
    this.#wake();
  }

  private pump(): void {
    for (let channel: number = CHANNEL.bulk; channel < CHANNEL_COUNT; channel += 1) {
      const queue = this.#queues[channel] as Frame[];
      while (queue.length > 0) {
        if (this.socket.writableLength >= BULK_UNSENT_BYTES) return;
        const { head, tail } = queue.shift() as Frame;
        this.#write(head, tail);
      }
    }
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #write(head: Buffer, tail: Uint8Array | undefined): void {
    if (tail === undefined) this.socket.write(head, this.#pump);
    else if (tail.length <= COPY_BYTES) this.socket.write(Buffer.concat([head, tail]), this.#pump);
    else {
      this.socket.cork();
      this.socket.write(head);
      this.socket.write(tail, this.#pump);
      this.socket.uncork();
    }
  }
}
