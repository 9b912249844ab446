import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type DescMethodStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";
import type { Caller, OpenCall } from "./caller.js";
import { protocolError } from "./errors.js";
import { MAX_REQUEST_BYTES } from "./packet.js";
import { PyroError } from "../protocol/index.js";

/** What Connect's clients may bring along; this wire has no headers. */
type HeadersInit = ConstructorParameters<typeof Headers>[0] | undefined;

/**
 * The typed clients' way to the agent: Connect's Transport over the calls of one channel. Every error that a call
 * throws is a PyroError, or what its input threw.
 */
export function callTransport(caller: Caller, defaultTimeoutMs: number): Transport {
  return {
    async unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      _header: HeadersInit,
      input: MessageInitShape<I>,
    ): Promise<UnaryResponse<I, O>> {
      const message = encode(method.input, input);
      const name = nameOf(method);
      const open = caller.open({ name, timeoutMs: timeoutMs ?? defaultTimeoutMs, signal, message, isLast: true });
      try {
        const answer = await open.call.next();
        if (answer === undefined) throw protocolError(`no answer to ${name}`);
        return { stream: false, ...about(method), message: decode(method.output, answer) };
      } finally {
        open.leave();
      }
    },
    async stream<I extends DescMessage, O extends DescMessage>(
      method: DescMethodStreaming<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      _header: HeadersInit,
      input: AsyncIterable<MessageInitShape<I>>,
    ): Promise<StreamResponse<I, O>> {
      const options = { name: nameOf(method), timeoutMs: timeoutMs ?? 0, signal };
      let open: OpenCall;
      if (method.methodKind === "server_streaming") {
        const first = await input[Symbol.asyncIterator]().next();
        if (first.done === true) throw new TypeError(`${options.name} needs a message`);
        open = caller.open({ ...options, message: encode(method.input, first.value), isLast: true });
      } else {
        open = caller.open({ ...options, message: undefined, isLast: false });
        void sendAll(open, method.input, input);
      }
      return { stream: true, ...about(method), message: receiveAll(open, method.output) };
    },
  };
}

function nameOf(method: DescMethod): string {
  return `${method.parent.typeName}/${method.name}`;
}

function about<M extends DescMethod>(method: M): { service: M["parent"]; method: M; header: Headers; trailer: Headers } {
  return { service: method.parent, method, header: NO_HEADERS, trailer: NO_HEADERS };
}

const NO_HEADERS = new Headers();

function encode<T extends DescMessage>(desc: T, message: MessageInitShape<T>): Uint8Array {
  const bytes = toBinary(desc, create(desc, message));
  if (bytes.length > MAX_REQUEST_BYTES) {
    throw new PyroError("ARGUMENT_TOO_LARGE", `a request of ${bytes.length} bytes is more than ${MAX_REQUEST_BYTES}`, {
      hint: "pass large data on standard input or in a file",
    });
  }
  return bytes;
}

function decode<T extends DescMessage>(desc: T, bytes: Buffer): MessageShape<T> {
  try {
    return fromBinary(desc, bytes);
  } catch (error) {
    throw protocolError(`a message that is no ${desc.typeName}`, error);
  }
}

async function* receiveAll<T extends DescMessage>(open: OpenCall, desc: T): AsyncGenerator<MessageShape<T>> {
  try {
    for (;;) {
      const bytes = await open.call.next();
      if (bytes === undefined) return;
      yield decode(desc, bytes);
    }
  } finally {
    open.leave();
  }
}

/** Sends what the input gives until the agent wants no more; an input that fails cancels the call with its error. */
async function sendAll<T extends DescMessage>(
  { call, leave }: OpenCall,
  desc: T,
  input: AsyncIterable<MessageInitShape<T>>,
): Promise<void> {
  try {
    for await (const message of input) {
      if (!(await call.send(encode(desc, message)))) return;
    }
    call.endInput();
  } catch (error) {
    leave();
    call.fail(error);
  }
}
