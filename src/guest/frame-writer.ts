import type { Socket } from "node:net";
import { CHANNEL, CHANNEL_COUNT, HEADER_BYTES, putDataHeader, dataHeader } from "./frame.js";

/** Unsent bytes of the socket, above which no frame of these channels is added; control and event frames always are. */
const BULK_UNSENT_BYTES = 128 * 1024;
/** Frames of a channel that wait, from which on there is no room: the sum of all calls' credit may be large. */
const WAITING_FRAMES = 8;
/** A tail up to this size is copied behind its head: one write less. */
const COPY_BYTES = 4 * 1024;

interface Frame {
  readonly head: Buffer;
  readonly tail: Uint8Array | undefined;
  readonly taken: (() => void) | undefined;
}

/** Gives the socket frames: control and event at once, the others while little is unsent (LINK.md, rule 6). */
export class FrameWriter {
  readonly #queues: Frame[][] = Array.from({ length: CHANNEL_COUNT }, () => []);
  /** Who waits for room, by channel, in order. */
  readonly #waiting: (() => void)[][] = Array.from({ length: CHANNEL_COUNT }, () => []);
  /** Of the two that are sent in turn, the one whose turn it is. */
  #turn: number = CHANNEL.bulk;
  readonly #pump = (): void => this.pump();

  constructor(
    private readonly socket: Socket,
    private readonly epoch: number,
  ) {}

  /**
   * Sends a payload whose first part has HEADER_BYTES free at its begin; `taken` is called when the socket needs the bytes
   * no more, or never will.
   */
  send(channel: number, head: Buffer, tail?: Uint8Array, taken?: () => void): void {
    const length = head.length - HEADER_BYTES + (tail?.length ?? 0);
    putDataHeader(head, channel, this.epoch, length);
    if (channel === CHANNEL.control || channel === CHANNEL.event) this.#write({ head, tail, taken });
    else {
      this.#queues[channel]?.push({ head, tail, taken });
      this.pump();
    }
  }

  /** Resolves when few frames of the channel wait; those who ask get room in turn, each for one frame. */
  async room(channel: number): Promise<void> {
    const waiting = this.#waitingFor(channel);
    if (waiting.length > 0 || this.#frames(channel).length >= WAITING_FRAMES) {
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  }

  /** Sends a payload, and resolves when there is room for another. */
  async flood(channel: number, payload: Buffer): Promise<void> {
    const head = dataHeader(channel, this.epoch, payload.length);
    this.#frames(channel).push({ head, tail: payload, taken: undefined });
    this.pump();
    await this.room(channel);
  }

  /** Nothing is sent any more, and nobody waits. */
  end(): void {
    for (const queue of this.#queues) for (const { taken } of queue.splice(0)) taken?.();
    for (const waiting of this.#waiting) for (const resolve of waiting.splice(0)) resolve();
  }

  private pump(): void {
    for (let channel = this.#next(); channel !== undefined; channel = this.#next()) {
      if (this.socket.writableLength >= BULK_UNSENT_BYTES) return;
      const queue = this.#frames(channel);
      const frame = queue.shift() as Frame;
      if (channel === this.#turn) this.#turn = channel === CHANNEL.bulk ? CHANNEL.network : CHANNEL.bulk;
      this.#write(frame);
      // One who is woken may have no more to send: when nothing is left, nobody would wake the others.
      const waiting = this.#waitingFor(channel);
      const count = queue.length === 0 ? waiting.length : queue.length < WAITING_FRAMES ? 1 : 0;
      for (const resolve of waiting.splice(0, count)) resolve();
    }
  }

  /** The channel whose frame is sent next: the one whose turn it is, else the other of the two, else probe. */
  #next(): number | undefined {
    const other = this.#turn === CHANNEL.bulk ? CHANNEL.network : CHANNEL.bulk;
    return [this.#turn, other, CHANNEL.probe].find((channel) => this.#frames(channel).length > 0);
  }

  #waitingFor(channel: number): (() => void)[] {
    return this.#waiting[channel] as (() => void)[];
  }

  #frames(channel: number): Frame[] {
    return this.#queues[channel] as Frame[];
  }

  #write({ head, tail, taken }: Frame): void {
    const done =
      taken === undefined
        ? this.#pump
        : (): void => {
            taken();
            this.pump();
          };
    if (tail === undefined) this.socket.write(head, done);
    else if (tail.length <= COPY_BYTES) this.socket.write(Buffer.concat([head, tail]), done);
    else {
      this.socket.cork();
      this.socket.write(head);
      this.socket.write(tail, done);
      this.socket.uncork();
    }
  }
}
