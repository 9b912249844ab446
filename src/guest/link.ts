import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { PyroError } from "../protocol/index.js";
import { disconnected, protocolError } from "./errors.js";
import { FrameReader } from "./frame-reader.js";
import { CHANNEL, FILLER_BYTES, MAX_PAYLOAD_BYTES, helloFrame } from "./frame.js";
import { FrameWriter } from "./frame-writer.js";
import type { PortReading } from "./port-reading.js";

const HELLO_EVERY_MS = 20;
const EMPTY = Buffer.alloc(0);

/**
 * The host's side of the framed link (proto/LINK.md), for one epoch: made on a fresh connection, over when the
 * socket is. Owns the socket.
 */
export class HostLink implements AsyncDisposable {
  readonly epoch = freshEpoch();
  /** Resolves when the epoch is over, with the reason unless it was this side's wish. */
  readonly closed: Promise<PyroError | undefined>;
  readonly counters = { skippedBytes: 0, droppedFrames: 0 };

  readonly #socket: Socket;
  readonly #writer: FrameWriter;
  readonly #reader: FrameReader;
  readonly #receivers = new Map<number, (packet: Buffer) => void>();
  readonly #answered: Promise<void>;
  #onAnswer: () => void = () => undefined;
  #onClose: (reason: PyroError | undefined) => void = () => undefined;
  #reason: PyroError | undefined;
  #isOver = false;
  #hello: NodeJS.Timeout | undefined;
  #opened = false;
  /** Before the answer: the last bytes that came, fewer than the answer has. */
  #rest = EMPTY;

  #probeBytes = 0;
  #probeWaits: { readonly bytes: number; readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];

  constructor(socket: Socket, reading: PortReading) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => (this.#onClose = resolve));
    this.#answered = new Promise((resolve) => (this.#onAnswer = resolve));
    this.#writer = new FrameWriter(socket, this.epoch);
    this.#reader = new FrameReader(this.epoch, this.counters, (channel, payload) => this.#deliver(channel, payload));
    socket.on("error", (error) => this.end(disconnected(error)));
    socket.on("close", () => this.end(disconnected()));
    // It may be closed before anybody could listen for that.
    if (socket.destroyed) this.end(disconnected());
    reading.begin(socket, (bytes) => this.#receive(bytes));
  }

  /**
   * Says HELLO until the agent answers; false when it has not within that time.
   * @throws {PyroError} why the epoch is over
   */
  async open(timeoutMs: number): Promise<boolean> {
    this.#socket.write(Buffer.alloc(FILLER_BYTES));
    const hello = helloFrame(this.epoch);
    const say = (): void => {
      // A port that takes nothing has no guest yet; more of the same would only queue.
      if (this.#socket.writableLength < FILLER_BYTES) this.#socket.write(hello);
    };
    this.#socket.write(hello);
    this.#hello = setInterval(say, HELLO_EVERY_MS);
    let timer: NodeJS.Timeout | undefined;
    const isLate = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), timeoutMs)));
    const isOver = this.closed.then((reason) => Promise.reject(reason ?? disconnected()));
    try {
      return await Promise.race([this.#answered.then(() => true), isLate, isOver]);
    } finally {
      clearTimeout(timer);
      clearInterval(this.#hello);
    }
  }

  /** Sets who takes the packets of a channel. What it throws is a broken rule, and ends the epoch. */
  onPacket(channel: keyof typeof CHANNEL, receive: (packet: Buffer) => void): void {
    this.#receivers.set(CHANNEL[channel], receive);
  }

  /**
   * Sends one packet: `head` with HEADER_BYTES free at its begin, and what belongs behind it. The bytes are the link's
   * until `taken` is called: when they are on their way, or the epoch is over. Then it does nothing else.
   */
  send(channel: keyof typeof CHANNEL, head: Buffer, tail?: Uint8Array, taken?: () => void): void {
    if (this.#isOver) taken?.();
    else this.#writer.send(CHANNEL[channel], head, tail, taken);
  }

  /** Sends zeros on the probe channel, with the link's own back-pressure. */
  async floodProbe(bytes: number): Promise<void> {
    const zeros = Buffer.alloc(MAX_PAYLOAD_BYTES);
    for (let left = bytes; left > 0; left -= zeros.length) {
      if (this.#isOver) throw this.#reason ?? disconnected();
      await this.#writer.flood(CHANNEL.probe, zeros.subarray(0, Math.min(left, zeros.length)));
    }
  }

  /** Resolves when that many bytes came on the probe channel since the epoch began. */
  async probeReceived(bytes: number): Promise<void> {
    if (this.#probeBytes >= bytes) return;
    if (this.#isOver) throw this.#reason ?? disconnected();
    await new Promise<void>((resolve, reject) => this.#probeWaits.push({ bytes, resolve, reject }));
  }

  /** Ends the epoch; everything on it fails with the reason. */
  end(reason?: PyroError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#reason = reason;
    clearInterval(this.#hello);
    this.#socket.destroy();
    this.#writer.end();
    for (const wait of this.#probeWaits) wait.reject(reason ?? disconnected());
    this.#onClose(reason);
  }

  /** Why calls of this epoch fail, once it is over. */
  get reason(): PyroError | undefined {
    return this.#isOver ? (this.#reason ?? disconnected()) : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
    if (!this.#socket.closed) await new Promise((resolve) => this.#socket.once("close", resolve));
  }

  #receive(chunk: Buffer): void {
    if (this.#isOver) return;
    const bytes = this.#opened ? chunk : this.#findAnswer(chunk);
    if (bytes === undefined) return;
    try {
      this.#reader.read(bytes);
    } catch (error) {
      this.end(protocolError(error instanceof Error ? error.message : String(error), error));
    }
  }

  /**
   * Before the answer the port may deliver a stale tail, cut anywhere: its frames may announce more than will come.
   * So only the exact answer counts; it holds an epoch that nobody has used before.
   */
  #findAnswer(chunk: Buffer): Buffer | undefined {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const answer = helloFrame(this.epoch);
    const at = bytes.indexOf(answer);
    if (at < 0) {
      const keep = Math.min(bytes.length, answer.length - 1);
      this.counters.skippedBytes += bytes.length - keep;
      this.#rest = Buffer.from(bytes.subarray(bytes.length - keep));
      return undefined;
    }
    this.counters.skippedBytes += at;
    this.#rest = EMPTY;
    this.#opened = true;
    this.#onAnswer();
    return bytes.subarray(at + answer.length);
  }

  #deliver(channel: number, payload: Buffer): void {
    if (this.#isOver) return;
    if (channel === CHANNEL.probe) this.#countProbe(payload.length);
    else this.#receivers.get(channel)?.(payload);
  }

  #countProbe(bytes: number): void {
    this.#probeBytes += bytes;
    const ready = this.#probeWaits.filter((wait) => wait.bytes <= this.#probeBytes);
    if (ready.length === 0) return;
    this.#probeWaits = this.#probeWaits.filter((wait) => wait.bytes > this.#probeBytes);
    for (const wait of ready) wait.resolve();
  }
}

function freshEpoch(): number {
  return randomBytes(4).readUInt32BE(0) || 1;
}
