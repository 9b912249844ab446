import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { LIMITS, PyroError } from "../protocol/index.js";
import {
  DialRequestSchema,
  DialResponseSchema,
  NetworkService,
  RefusedBecause,
} from "../protocol/gen/pyro/guest/v1/network_pb.js";
import type { Caller, OpenCall } from "./caller.js";
import { protocolError } from "./errors.js";
import { CallStream, type GuestStream } from "./stream.js";

const DIAL = `${NetworkService.typeName}/${NetworkService.method.dial.name}`;
const GUEST_TEXT_CHARACTERS = 200;

/** A connection to a port in the guest; to be left, however it ends. */
export interface DialledStream extends GuestStream {
  /** Frees what it holds; one that is not over is reset. */
  leave(): Promise<void>;
}

/**
 * Connects to a port that a program of the guest listens on, on its loopback.
 * @throws {PyroError} GUEST_PORT_REFUSED when nobody listens there, DEADLINE_EXCEEDED, GUEST_DISCONNECTED, or the signal's reason
 */
export async function dialGuest(
  caller: Caller,
  port: number,
  signal: AbortSignal | undefined,
): Promise<DialledStream> {
  const message = toBinary(DialRequestSchema, create(DialRequestSchema, { part: { case: "open", value: port } }));
  // The deadline of a call is one for all of it, so this has none; only the answer is waited for so long.
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(unanswered(port)), LIMITS.networkDialTimeoutMs);
  const ends = signal === undefined ? [late.signal] : [late.signal, signal];
  const until = AbortSignal.any(ends);
  let open: OpenCall | undefined;
  const leave = (): void => open?.leave();
  const abort = (): void => {
    leave();
    open?.call.fail(until.reason);
  };
  try {
    open = caller.open({ name: DIAL, timeoutMs: 0, signal: undefined, message, isLast: false });
    until.addEventListener("abort", abort, { once: true });
    if (until.aborted) abort();
    const answer = await open.call.next();
    if (answer === undefined) throw protocolError(`no answer to ${DIAL}`);
    const { part } = parse(answer);
    if (part.case === "refused") throw refused(port, part.value.because, part.value.message);
    if (part.case !== "opened") throw protocolError("a connection without its answer");
    return new Dialled(open);
  } catch (error) {
    leave();
    throw error;
  } finally {
    clearTimeout(timer);
    until.removeEventListener("abort", abort);
  }
}

class Dialled extends CallStream implements DialledStream {
  readonly #open: OpenCall;

  constructor(open: OpenCall) {
    super(open.call, (message) => parse(message).part, open.leave);
    this.#open = open;
  }

  async leave(): Promise<void> {
    // Both have said all: the agent ends the call, and would take a cancel for a reset.
    if (this.isWhole) await this.#open.call.next().catch(() => undefined);
    this.#open.leave();
  }
}

function parse(message: Buffer): ReturnType<typeof fromBinary<typeof DialResponseSchema>> {
  try {
    return fromBinary(DialResponseSchema, message);
  } catch (error) {
    throw protocolError(`a message that is no ${DialResponseSchema.typeName}`, error);
  }
}

function unanswered(port: number): PyroError {
  return new PyroError("DEADLINE_EXCEEDED", `port ${port} in the machine did not answer within ${LIMITS.networkDialTimeoutMs} ms`, {
    hint: "look at the service's logs, and try again",
    retryable: true,
  });
}

function refused(port: number, because: RefusedBecause, message: string): PyroError {
  const why = because === RefusedBecause.REFUSED ? "nobody listens there" : message.slice(0, GUEST_TEXT_CHARACTERS);
  return new PyroError("GUEST_PORT_REFUSED", `port ${port} in the machine: ${why}`, {
    hint: `the program has to listen on port ${port} of 127.0.0.1, ::1 or all addresses of the machine`,
    retryable: true,
  });
}
