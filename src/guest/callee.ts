import { create, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { PyroError } from "../protocol/index.js";
import { StatusSchema } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { Call, dispatch, type SendPacket, type Window } from "./call.js";
import { cancelled, deadlineExceeded, disconnected, protocolError } from "./errors.js";
import type { CHANNEL } from "./frame.js";
import type { HostLink } from "./link.js";
import { FLAG, KIND, parseCall, parseFromCaller, type Packet } from "./packet.js";

/** What a call of the agent ends with, told to the agent as it is. */
export class CallFailure extends Error {
  override readonly name = "CallFailure";
  constructor(
    readonly code: Code,
    message: string,
  ) {
    super(message);
  }
}

/**
 * Serves one call, whose `broken` fires when the agent has left it. What it gives back is the last message; undefined:
 * there is none. A CallFailure that it throws is told to the agent, a GUEST_PROTOCOL_ERROR ends the epoch.
 */
export type Method = (call: Call) => Promise<Uint8Array | undefined>;

export interface CalleeOptions {
  /** By their names on the wire, `package.Service/Method`. */
  readonly methods: ReadonlyMap<string, Method>;
  /** Calls under way at once; one more is refused. */
  readonly callsMax: number;
  readonly readMaxBytes: number;
  readonly window: Window;
  /** Told what a method threw that is neither of the two. */
  readonly onDefect: (error: unknown) => void;
}

/** Answers the calls that the agent makes on one channel. All end with the epoch. */
export class Callee {
  readonly #calls = new Map<number, Call>();

  constructor(
    private readonly link: HostLink,
    private readonly channel: keyof typeof CHANNEL,
    private readonly options: CalleeOptions,
  ) {
    link.onPacket(channel, (bytes) => this.#receive(bytes));
    void link.closed.then((reason) => {
      for (const call of this.#calls.values()) call.fail(reason ?? disconnected());
      this.#calls.clear();
    });
  }

  /** Calls under way. */
  get callCount(): number {
    return this.#calls.size;
  }

  #receive(bytes: Buffer): void {
    const packet = parseFromCaller(bytes);
    const call = this.#calls.get(packet.id);
    if (packet.kind === KIND.call) this.#accept(bytes, packet);
    else if (call === undefined) return;
    else if (packet.kind === KIND.cancel) this.#leave(call, cancelled(undefined));
    else if (packet.kind === KIND.end) call.end({});
    else dispatch(call, packet);
  }

  #accept(bytes: Buffer, packet: Packet): void {
    const { id, flags } = packet;
    if (this.#calls.has(id)) throw new Error(`a second call with the id ${id}`);
    const { readMaxBytes, window, callsMax, methods } = this.options;
    const { name, timeoutMs, rest } = parseCall(bytes, packet);
    const send: SendPacket = (head, tail, taken) => this.link.send(this.channel, head, tail, taken);
    const call = new Call(id, send, readMaxBytes, window);
    const method = methods.get(name);
    if (this.#calls.size >= callsMax) {
      sendEnd(call, new CallFailure(Code.ResourceExhausted, `more than ${callsMax} calls at once`));
      return;
    }
    if (method === undefined) {
      sendEnd(call, new CallFailure(Code.Unimplemented, "the host has no such method"));
      return;
    }
    if ((flags & FLAG.withMessage) !== 0) call.add(rest, flags & ~FLAG.withMessage, false);
    else if ((flags & FLAG.last) !== 0) call.end({});
    this.#calls.set(id, call);
    void this.#serve(call, method, timeoutMs);
  }

  async #serve(call: Call, method: Method, timeoutMs: number): Promise<void> {
    const late = deadlineExceeded();
    const timer = timeoutMs === 0 ? undefined : setTimeout(() => call.fail(late), timeoutMs);
    let failure: CallFailure | undefined;
    try {
      const last = await method(call);
      if (last !== undefined && !call.broken.aborted) {
        await call.send(last, FLAG.last);
        this.#calls.delete(call.id);
        return;
      }
    } catch (error) {
      failure = this.#failureOf(error);
    } finally {
      clearTimeout(timer);
    }
    if (call.broken.reason === late) failure = new CallFailure(Code.DeadlineExceeded, "the host took too long");
    // Of one that the agent has left, nothing follows.
    if (this.#calls.get(call.id) === call) {
      this.#calls.delete(call.id);
      sendEnd(call, failure);
    }
  }

  #failureOf(error: unknown): CallFailure {
    if (error instanceof CallFailure) return error;
    if (error instanceof PyroError && error.code === "GUEST_PROTOCOL_ERROR") this.link.end(error);
    else if (!(error instanceof PyroError)) this.options.onDefect(error);
    // What failed on the host is none of the guest's business.
    return new CallFailure(Code.Internal, "the host failed");
  }

  #leave(call: Call, reason: PyroError): void {
    this.#calls.delete(call.id);
    call.fail(reason);
  }
}

function sendEnd(call: Call, failure: CallFailure | undefined): void {
  const status = { code: failure?.code ?? 0, message: failure?.message ?? "" };
  call.sendBare(KIND.end, toBinary(StatusSchema, create(StatusSchema, status)));
}

/** The only message of a call. */
export async function onlyMessage(call: Call): Promise<Buffer> {
  const message = await call.next();
  if (message === undefined) throw protocolError("a call without its message");
  return message;
}
