import type { WriteInputRequest, WriteInputResponse } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { LIMITS } from "../protocol/index.js";
import { protocolError } from "./errors.js";

type Message = Pick<WriteInputRequest, "processId" | "data" | "end">;

/** Makes one WriteInput call of the messages. */
export type SendInput = (messages: AsyncIterable<Message>) => Promise<WriteInputResponse>;

interface Waiting {
  readonly data: Uint8Array;
  readonly end: boolean;
  readonly resolve: (taken: boolean) => void;
  readonly reject: (error: unknown) => void;
}

/** A call stays open this long for more input; then it ends, so that a reconnect meanwhile loses nothing. */
const LINGER_MS = 50;
const NOTHING = new Uint8Array(0);

/**
 * A command's standard input. Calls to the agent are made per burst: within one the back-pressure is the call's credit,
 * and its answer tells how much the command took. A burst that the connection is lost in fails; it cannot be repeated,
 * because nobody knows how much of it arrived.
 */
export class InputWriter {
  readonly #processId: string;
  readonly #send: SendInput;
  readonly #queue: Waiting[] = [];
  #wake: (() => void) | undefined;
  #burst: Promise<void> | undefined;
  #isClosed: boolean;
  #failure: Error | undefined;

  constructor(processId: string, send: SendInput, isOpen: boolean) {
    this.#processId = processId;
    this.#send = send;
    this.#isClosed = !isOpen;
  }

  /** Resolves when there is room for more; false when the command takes no more. */
  async write(data: Uint8Array): Promise<boolean> {
    for (let at = 0; at < data.length; at += LIMITS.bulkChunkBytes) {
      if (!(await this.#put(data.subarray(at, at + LIMITS.bulkChunkBytes), false))) return false;
    }
    return !this.#isClosed;
  }

  /** Ends the input after what was written, and waits until the agent has it all. */
  async end(): Promise<void> {
    await this.#put(NOTHING, true);
    this.#isClosed = true;
  }

  #put(data: Uint8Array, end: boolean): Promise<boolean> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#isClosed) return Promise.resolve(false);
    return new Promise((resolve, reject) => {
      this.#queue.push({ data, end, resolve, reject });
      this.#wake?.();
      this.#burst ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    const burst: Burst = { sentBytes: 0, isOver: false, current: undefined };
    try {
      const answer = await this.#send(this.#messages(burst));
      if (answer.closedByProcess) this.#isClosed = true;
      else if (answer.acceptedBytes !== BigInt(burst.sentBytes)) {
        throw protocolError(`${answer.acceptedBytes} bytes of input taken of ${burst.sentBytes}`);
      }
      burst.current?.resolve(!answer.closedByProcess);
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      burst.current?.reject(error);
    }
    burst.isOver = true;
    this.#wake?.();
    this.#burst = undefined;
    if (this.#failure !== undefined) for (const item of this.#queue.splice(0)) item.reject(this.#failure);
    else if (this.#isClosed) for (const item of this.#queue.splice(0)) item.resolve(false);
    else if (this.#queue.length > 0) this.#burst = this.#run();
  }

  async *#messages(burst: Burst): AsyncGenerator<Message> {
    let processId = this.#processId;
    for (;;) {
      if (this.#queue.length === 0) await this.#more();
      if (burst.isOver) return;
      const item = this.#queue.shift();
      if (item === undefined) return;
      burst.current = item;
      burst.sentBytes += item.data.length;
      yield { processId, data: item.data, end: item.end };
      // The end is told when the agent has answered; until then the transport asking for more says that it has room.
      if (item.end) return;
      processId = "";
      burst.current = undefined;
      item.resolve(true);
    }
  }

  async #more(): Promise<void> {
    await new Promise<void>((resolve) => {
      const go = (): void => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(go, LINGER_MS);
      this.#wake = go;
    });
  }
}

/** One call to the agent. */
interface Burst {
  sentBytes: number;
  isOver: boolean;
  /** Handed to the transport, which has not asked for more yet. */
  current: Waiting | undefined;
}
