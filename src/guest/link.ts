import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { PyroError } from "../protocol/index.js";
import { Channel } from "./channel.js";
import { disconnected, protocolError } from "./errors.js";
import {
  CHANNEL,
  CHANNEL_COUNT,
  FILLER_BYTES,
  HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  dataHeader,
  helloFrame,
  scan,
} from "./frame.js";

const HELLO_EVERY_MS = 20;
/** Unsent bytes of the socket, above which no bulk or probe frame is added; control and event frames always are. */
const BULK_UNSENT_BYTES = 128 * 1024;
/** Rule 7: a channel that holds more unread has a peer that ignores the windows of HTTP/2. */
const MAX_UNREAD_BYTES = 32 * 1024 * 1024;

const EMPTY = Buffer.alloc(0);

/**
 * The host's side of the framed link (proto/LINK.md), for one epoch: made on a fresh connection, over when the
 * socket is. Owns the socket.
 */
export class HostLink implements AsyncDisposable {
  readonly epoch = freshEpoch();
  readonly control: Channel;
  readonly event: Channel;
  readonly bulk: Channel;
  /** Resolves when the epoch is over, with the reason unless it was this side's wish. */
  readonly closed: Promise<PyroError | undefined>;
  readonly counters = { skippedBytes: 0, droppedFrames: 0 };

  readonly #socket: Socket;
  readonly #channels: readonly Channel[];
  readonly #probe: Channel;
  readonly #answered: Promise<void>;
  #onAnswer: () => void = () => undefined;
  #onClose: (reason: PyroError | undefined) => void = () => undefined;
  #reason: PyroError | undefined;
  #isOver = false;
  #hello: NodeJS.Timeout | undefined;
  #opened = false;

  /** Bytes that are not parsed yet: at most a header's. */
  #rest = EMPTY;
  #remaining = 0;
  #target: Channel | "probe" | undefined;

  #probeBytes = 0;
  #probeWaits: { readonly bytes: number; readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => (this.#onClose = resolve));
    this.#answered = new Promise((resolve) => (this.#onAnswer = resolve));
    const wake = (): void => this.#pump();
    this.#channels = Array.from({ length: CHANNEL_COUNT }, () => new Channel(wake).on("error", () => undefined));
    [this.control, this.event, this.bulk, this.#probe] = this.#channels as [Channel, Channel, Channel, Channel];
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error) => this.end(disconnected(error)));
    socket.on("close", () => this.end(disconnected()));
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

  /** Sends zeros on the probe channel, with the link's own back-pressure. */
  async floodProbe(bytes: number): Promise<void> {
    const zeros = Buffer.alloc(MAX_PAYLOAD_BYTES);
    for (let left = bytes; left > 0; left -= zeros.length) {
      const part = zeros.subarray(0, Math.min(left, zeros.length));
      await new Promise<void>((resolve, reject) => {
        this.#probe.write(part, (error) => (error ? reject(this.#reason ?? error) : resolve()));
      });
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
    for (const channel of this.#channels) channel.destroy(reason);
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

  /** Gives the socket the next frames: strictly by channel, bulk and probe only while little is unsent. */
  #pump(): void {
    if (!this.#opened || this.#isOver) return;
    for (;;) {
      const index = this.#channels.findIndex((channel) => channel.hasPending);
      if (index < 0) return;
      if (index >= CHANNEL.bulk && this.#socket.writableLength >= BULK_UNSENT_BYTES) return;
      this.#sendFrame(index, this.#channels[index] as Channel);
    }
  }

  #sendFrame(index: number, channel: Channel): void {
    const { parts, length, done } = channel.nextPayload(MAX_PAYLOAD_BYTES);
    const last = parts.length - 1;
    this.#socket.cork();
    this.#socket.write(dataHeader(index, this.epoch, length));
    for (const [at, part] of parts.entries()) {
      if (at < last) this.#socket.write(part);
      else this.#socket.write(part, () => this.#pump());
    }
    this.#socket.uncork();
    for (const call of done) call();
  }

  #receive(chunk: Buffer): void {
    if (this.#isOver) return;
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = EMPTY;
    if (!this.#opened) {
      const found = this.#findAnswer(bytes);
      if (found === undefined) return;
      bytes = found;
    }
    this.#parse(bytes);
  }

  /**
   * Before the answer the port may deliver a stale tail, cut anywhere: its frames may announce more than will come.
   * So only the exact answer counts; it holds an epoch that nobody has used before.
   */
  #findAnswer(bytes: Buffer): Buffer | undefined {
    const answer = helloFrame(this.epoch);
    const at = bytes.indexOf(answer);
    if (at < 0) {
      const keep = Math.min(bytes.length, answer.length - 1);
      this.counters.skippedBytes += bytes.length - keep;
      this.#rest = Buffer.from(bytes.subarray(bytes.length - keep));
      return undefined;
    }
    this.counters.skippedBytes += at;
    this.#opened = true;
    this.#onAnswer();
    this.#pump();
    return bytes.subarray(at + answer.length);
  }

  #parse(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length && !this.#isOver) {
      if (this.#remaining > 0) {
        const part = bytes.subarray(at, at + this.#remaining);
        at += part.length;
        this.#remaining -= part.length;
        this.#deliver(part);
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
      this.#remaining = header.length;
      this.#target = undefined;
      if (header.epoch !== this.epoch) this.counters.droppedFrames += 1;
      else this.#target = header.channel === CHANNEL.probe ? "probe" : this.#channels[header.channel];
    }
  }

  #deliver(part: Buffer): void {
    if (this.#target === "probe") this.#countProbe(part.length);
    else if (this.#target !== undefined && !this.#target.destroyed) {
      this.#target.push(part);
      if (this.#target.readableLength > MAX_UNREAD_BYTES) {
        this.end(protocolError(`a channel of the link holds more than ${MAX_UNREAD_BYTES} bytes unread`));
      }
    }
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
