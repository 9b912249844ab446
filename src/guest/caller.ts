import { fromBinary } from "@bufbuild/protobuf";
import { StatusSchema } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { Call, dispatch, type SendPacket, type Window } from "./call.js";
import { cancelled, deadlineExceeded, disconnected, statusError } from "./errors.js";
import type { CHANNEL } from "./frame.js";
import type { HostLink } from "./link.js";
import { FLAG, KIND, parseFromCallee } from "./packet.js";

export interface CallOptions {
  /** As on the wire: `package.Service/Method`. */
  readonly name: string;
  /** 0: none. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** The first message, where there is one; with `isLast` the only one. */
  readonly message: Uint8Array | undefined;
  readonly isLast: boolean;
}

/** A call that was made: to be left, however it ends. */
export interface OpenCall {
  readonly call: Call;
  /** Frees what the call holds; one that is not over yet is cancelled. */
  readonly leave: () => void;
}

/** Makes calls on one channel of a link. All that is pending fails with the link's reason when the epoch ends. */
export class Caller {
  readonly #calls = new Map<number, Call>();
  #lastId = 0;

  constructor(
    private readonly link: HostLink,
    private readonly channel: keyof typeof CHANNEL,
    private readonly readMaxBytes: number,
    private readonly window?: Window,
  ) {
    link.onPacket(channel, (packet) => this.#receive(packet));
    void link.closed.then((reason) => {
      for (const call of this.#calls.values()) call.fail(reason ?? disconnected());
      this.#calls.clear();
    });
  }

  /** Throws the link's reason when the epoch is over, and the signal's. */
  open(options: CallOptions): OpenCall {
    if (this.link.reason !== undefined) throw this.link.reason;
    const { signal, timeoutMs } = options;
    if (signal?.aborted === true) throw cancelled(signal.reason);
    const send: SendPacket = (head, tail, taken) => this.link.send(this.channel, head, tail, taken);
    const call = new Call(++this.#lastId, send, this.readMaxBytes, this.window);
    this.#calls.set(call.id, call);
    const abort = (): void => giveUp(cancelled(signal?.reason));
    const timer = timeoutMs > 0 ? setTimeout(() => giveUp(deadlineExceeded()), timeoutMs) : undefined;
    signal?.addEventListener("abort", abort, { once: true });
    const leave = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      // What was not said to be over: the agent is told, and no more of it is looked at.
      if (this.#calls.delete(call.id)) {
        call.refuse();
        call.sendBare(KIND.cancel);
      }
    };
    const giveUp = (error: Error): void => {
      leave();
      call.fail(error);
    };
    void call.open(options.name, timeoutMs, options.message, options.isLast ? FLAG.last : 0);
    return { call, leave };
  }

  #receive(bytes: Buffer): void {
    const packet = parseFromCallee(bytes);
    const call = this.#calls.get(packet.id);
    if (call === undefined) return;
    if (packet.kind === KIND.end) {
      const status = fromBinary(StatusSchema, packet.body);
      call.end(status.code === 0 ? {} : { error: statusError(status) });
    } else dispatch(call, packet);
    if (call.isEnded) {
      this.#calls.delete(packet.id);
      call.refuse();
    }
  }
}
