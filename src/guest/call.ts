import { HEADER_BYTES, MAX_PAYLOAD_BYTES } from "./frame.js";
import { DEADLINE_BYTES, FLAG, KIND, PACKET_HEADER_BYTES, WINDOW_BYTES, putPacketHeader, type Packet } from "./packet.js";

/** In front of what a packet carries: the link's header and the packet's. */
const ROOM_BYTES = HEADER_BYTES + PACKET_HEADER_BYTES;
const BODY_BYTES = MAX_PAYLOAD_BYTES - PACKET_HEADER_BYTES;

/** Sends a packet; HEADER_BYTES at the begin of `head` are the link's. `taken` is called when the bytes are one's own again. */
export type SendPacket = (head: Buffer, tail?: Uint8Array, taken?: () => void) => void;

/** What each side may send before the first credit, and what each packet costs at least. */
export interface Window {
  readonly bytes: number;
  readonly packetCostBytes: number;
}

/** As on all channels but network. */
const USUAL_WINDOW: Window = { bytes: WINDOW_BYTES, packetCostBytes: 0 };

/** Empty messages cost nothing: of others, no more than this fit in the credit. */
const UNREAD_MESSAGES = WINDOW_BYTES / 2;

/** The call goes on, or ended well, or with an error. */
type Ended = { readonly error?: unknown } | undefined;

/**
 * The messages of one call, as one side sees them (proto/LINK.md, Calls): what arrived and nobody has taken yet, and
 * what may still be sent. One reader and one writer at a time.
 */
export class Call {
  #whole: Buffer[] = [];
  #paid: number[] = [];
  #part: Buffer[] = [];
  #partBytes = 0;
  /** What the part cost and no credit was given for yet. */
  #partCost = 0;
  /** What the other side may still send. */
  #allowance: number;
  /** Taken, and not given credit for yet. */
  #owed = 0;
  #ended: Ended;
  #broken: AbortController | undefined;
  #wakeReader: () => void = () => undefined;

  #credit: number;
  #isRefused = false;
  #wakeWriter: () => void = () => undefined;

  constructor(
    readonly id: number,
    private readonly sendPacket: SendPacket,
    private readonly readMaxBytes: number,
    private readonly window = USUAL_WINDOW,
  ) {
    this.#allowance = window.bytes;
    this.#credit = window.bytes;
  }

  /** Whether the other side has said its last. */
  get isEnded(): boolean {
    return this.#ended !== undefined;
  }

  /** Fires when the call ended with an error, whatever of it was not taken yet. */
  get broken(): AbortSignal {
    if (this.#broken === undefined) {
      this.#broken = new AbortController();
      if (this.#ended?.error !== undefined) this.#broken.abort(this.#ended.error);
    }
    return this.#broken.signal;
  }

  /** Takes bytes of a message; `isPaid` when they count against the credit. Throws the rule that they break. */
  add(bytes: Buffer, flags: number, isPaid: boolean): void {
    if (this.#ended !== undefined) return;
    if (isPaid) {
      if (this.#allowance <= 0) throw new Error("a call holds more than it gave credit for");
      const cost = Math.max(bytes.length, this.window.packetCostBytes);
      this.#allowance -= cost;
      this.#partCost += cost;
    }
    if (this.#whole.length >= UNREAD_MESSAGES) throw new Error("a call with more messages than anybody has credit for");
    if (this.#partBytes + bytes.length > this.readMaxBytes) {
      throw new Error(`a message of more than ${this.readMaxBytes} bytes`);
    }
    this.#part.push(bytes);
    this.#partBytes += bytes.length;
    if ((flags & FLAG.more) === 0) {
      this.#whole.push(this.#part.length === 1 ? bytes : Buffer.concat(this.#part));
      this.#paid.push(this.#partCost);
      this.#part = [];
      this.#partBytes = 0;
      this.#partCost = 0;
    } else if (this.#whole.length === 0) this.#settlePart();
    if ((flags & FLAG.last) !== 0) this.#ended = {};
    this.#wakeReader();
  }

  /** The other side sends no more, and why. */
  end(ended: { readonly error?: unknown }): void {
    this.#ended ??= ended;
    if (this.#ended.error !== undefined) this.#broken?.abort(this.#ended.error);
    this.#wakeReader();
  }

  /** This side has had enough: what waits fails, and nothing more is sent. */
  fail(error: unknown): void {
    this.#whole = [];
    this.#ended = { error };
    this.#broken?.abort(error);
    this.refuse();
    this.#wakeReader();
  }

  /** The next message; undefined when there is none. Throws what the call ended with. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const message = this.#whole.shift();
      if (message !== undefined) {
        this.#owe(this.#paid.shift() ?? 0);
        if (this.#whole.length === 0) this.#settlePart();
        return message;
      }
      if (this.#ended !== undefined) {
        if (this.#ended.error !== undefined) throw this.#ended.error as Error;
        return undefined;
      }
      await new Promise<void>((resolve) => (this.#wakeReader = resolve));
    }
  }

  /** More may be sent. */
  earn(bytes: number): void {
    this.#credit += bytes;
    this.#wakeWriter();
  }

  /** The other side takes no more messages. */
  refuse(): void {
    this.#isRefused = true;
    this.#wakeWriter();
  }

  /** Sends a message when there is credit; false when the other side takes none any more. */
  async send(message: Uint8Array, flags = 0): Promise<boolean> {
    return this.#sendFrom(message, 0, flags);
  }

  /**
   * Sends one message of two parts that fit one packet, without a copy of the second: resolves when the link has taken
   * it. False when the other side takes none any more; the link may still read the bytes then.
   */
  async sendParts(begin: Uint8Array, rest: Uint8Array): Promise<boolean> {
    if (!(await this.#pay(begin.length + rest.length))) return false;
    const head = Buffer.allocUnsafe(ROOM_BYTES + begin.length);
    head.set(begin, ROOM_BYTES);
    putPacketHeader(head, HEADER_BYTES, { kind: KIND.message, flags: 0, id: this.id });
    const sent = { isTaken: false };
    this.sendPacket(head, rest, () => {
      sent.isTaken = true;
      this.#wakeWriter();
    });
    // A guest that reads nothing must not keep a call from its end.
    while (!sent.isTaken && !this.#isRefused) await this.#woken();
    return sent.isTaken;
  }

  /** Sends the CALL, with its first message where there is one. */
  async open(name: string, timeoutMs: number, message: Uint8Array | undefined, flags: number): Promise<void> {
    const nameLength = Buffer.byteLength(name);
    const head = Buffer.allocUnsafe(ROOM_BYTES + DEADLINE_BYTES + nameLength);
    head.writeUInt32BE(Math.min(Math.ceil(timeoutMs), 0xffff_ffff), ROOM_BYTES);
    head.write(name, ROOM_BYTES + DEADLINE_BYTES);
    const room = BODY_BYTES - DEADLINE_BYTES - nameLength;
    const isCut = message !== undefined && message.length > room;
    const first = (message === undefined ? 0 : FLAG.withMessage) | (isCut ? FLAG.more : flags);
    putPacketHeader(head, HEADER_BYTES, { kind: KIND.call, flags: first, id: this.id, nameLength });
    this.sendPacket(head, isCut ? message.subarray(0, room) : message);
    if (isCut) await this.#sendFrom(message, room, flags);
  }

  /** Says that this side has no more messages. */
  endInput(): void {
    if (!this.#isRefused) this.sendBare(KIND.end);
  }

  /** Sends a packet that is no message. */
  sendBare(kind: number, body?: Uint8Array): void {
    const head = Buffer.allocUnsafe(ROOM_BYTES);
    putPacketHeader(head, HEADER_BYTES, { kind, flags: 0, id: this.id });
    this.sendPacket(head, body);
  }

  async #sendFrom(message: Uint8Array, from: number, flags: number): Promise<boolean> {
    for (let at = from; ; ) {
      const part = message.subarray(at, at + BODY_BYTES);
      if (!(await this.#pay(part.length))) return false;
      at += part.length;
      const head = Buffer.allocUnsafe(ROOM_BYTES);
      const isLast = at === message.length;
      putPacketHeader(head, HEADER_BYTES, { kind: KIND.message, flags: isLast ? flags : FLAG.more, id: this.id });
      this.sendPacket(head, part);
      if (isLast) return true;
    }
  }

  /** Waits for credit, and takes a packet's bytes off it; false when the other side takes none any more. */
  async #pay(bytes: number): Promise<boolean> {
    while (this.#credit <= 0 && !this.#isRefused) await this.#woken();
    if (this.#isRefused) return false;
    this.#credit -= Math.max(bytes, this.window.packetCostBytes);
    return true;
  }

  async #woken(): Promise<void> {
    await new Promise<void>((resolve) => (this.#wakeWriter = resolve));
  }

  /** The part is the next to be taken: it could not become whole without credit for what is there. */
  #settlePart(): void {
    this.#owe(this.#partCost);
    this.#partCost = 0;
  }

  #owe(bytes: number): void {
    this.#owed += bytes;
    if (this.#ended !== undefined || this.#owed < this.window.bytes / 2) return;
    this.#allowance += this.#owed;
    const body = Buffer.allocUnsafe(4);
    body.writeUInt32BE(this.#owed);
    this.#owed = 0;
    this.sendBare(KIND.credit, body);
  }
}

/** Acts on a packet for a call; throws the rule that it breaks. END is the caller's of this to read. */
export function dispatch(call: Call, packet: Packet): void {
  if (packet.kind === KIND.message) call.add(packet.body, packet.flags, true);
  else if (packet.kind === KIND.credit) call.earn(packet.body.readUInt32BE(0));
}
