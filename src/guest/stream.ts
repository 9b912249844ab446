import { Code } from "@connectrpc/connect";
import { CallFailure } from "./callee.js";
import type { Call } from "./call.js";
import { protocolError } from "./errors.js";
import { MAX_PAYLOAD_BYTES } from "./frame.js";
import { PACKET_HEADER_BYTES } from "./packet.js";

/**
 * One TCP connection between a program of the guest and whoever the host connected it to. Each side says once that it
 * sends no more. One reader and one writer at a time.
 */
export interface GuestStream {
  /**
   * The next bytes from the program; undefined when it sends no more.
   * @throws {PyroError} CANCELLED or what the agent says when the program reset it, GUEST_DISCONNECTED when the epoch is over
   */
  read(): Promise<Uint8Array | undefined>;
  /**
   * Sends bytes, and resolves when they are on their way: until then they are not to be changed. Throws as `read` does;
   * they may still be sent then.
   */
  write(data: Uint8Array): Promise<void>;
  /** Says that no more will come; the program reads the end. */
  finish(): Promise<void>;
  /** Ends it with an error, which the program sees as a reset. What waits fails. */
  reset(message: string): void;
  /** Fires when the program has reset it, or is gone; its reason is what `read` throws. */
  readonly broken: AbortSignal;
}

/** Data that fits one frame with the message around it: tag and length, 4 bytes at most. */
const STREAM_CHUNK_BYTES = MAX_PAYLOAD_BYTES - PACKET_HEADER_BYTES - 4;

/** Of ConnectRequest, ConnectResponse, DialRequest and DialResponse alike (network.proto): `data` and `finished`. */
const DATA_TAG = (2 << 3) | 2;
export const FINISHED_MESSAGE = Uint8Array.of((3 << 3) | 2, 0);

/** What stands before so many bytes of `data` in their message. */
export function dataBegin(length: number): Uint8Array {
  const begin = [DATA_TAG];
  let rest = length;
  for (; rest > 0x7f; rest >>>= 7) begin.push((rest & 0x7f) | 0x80);
  begin.push(rest);
  return Uint8Array.from(begin);
}

/** What a message of the other side may say once the connection stands. */
export type StreamPart =
  { readonly case: "data"; readonly value: Uint8Array } | { readonly case: "finished" } | { readonly case: string | undefined };

/** The bytes of a stream over the messages of a call. */
export class CallStream implements GuestStream {
  /** Whether each side has said that it sends no more. */
  #isFinished = { here: false, there: false };
  #reset: CallFailure | undefined;

  constructor(
    private readonly call: Call,
    private readonly parse: (message: Buffer) => StreamPart,
    /** Tells the agent of a reset, where the end of a method does not. */
    private readonly onReset: () => void = () => undefined,
  ) {}

  get broken(): AbortSignal {
    return this.call.broken;
  }

  /** Both sides have said that they send no more. */
  get isWhole(): boolean {
    return this.#isFinished.here && this.#isFinished.there;
  }

  /** What this side ended it with. */
  get failure(): CallFailure | undefined {
    return this.#reset;
  }

  async read(): Promise<Uint8Array | undefined> {
    if (this.#isFinished.there) return undefined;
    const message = await this.call.next();
    const part: StreamPart = message === undefined ? { case: "finished" } : this.parse(message);
    if (part.case === "data" && "value" in part) return part.value;
    if (part.case !== "finished") throw protocolError(`"${part.case ?? "nothing"}" in the midst of a connection`);
    this.#isFinished.there = true;
    return undefined;
  }

  async write(data: Uint8Array): Promise<void> {
    for (const piece of pieces(data)) {
      if (!(await this.call.sendParts(dataBegin(piece.length), piece))) this.#fail();
    }
  }

  async finish(): Promise<void> {
    if (this.#isFinished.here) return;
    this.#isFinished.here = true;
    if (!(await this.call.send(FINISHED_MESSAGE))) this.#fail();
  }

  reset(message: string): void {
    if (this.#reset !== undefined || this.isWhole) return;
    this.#reset = new CallFailure(Code.Aborted, message);
    this.onReset();
    this.call.fail(this.#reset);
  }

  #fail(): never {
    throw this.call.broken.aborted ? this.call.broken.reason : protocolError("a connection that ended half");
  }
}

/** Even pieces that each fit one frame: a socket may give 64 KiB, which is just too much. */
function* pieces(data: Uint8Array): Generator<Uint8Array> {
  const count = Math.ceil(data.length / STREAM_CHUNK_BYTES);
  const size = Math.ceil(data.length / count);
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}
