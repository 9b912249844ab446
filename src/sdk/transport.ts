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
import { envelope, envelopes } from "./envelope.js";
import { WireCall, type OpenStream } from "./wire-call.js";
import { errorAtEnd, lost, violation } from "./wire-failure.js";

type HeadersInit = Parameters<Transport["unary"]>[3];

/**
 * The typed clients' way to the daemon: the Connect protocol (https://connectrpc.com/docs/protocol) with binary messages,
 * uncompressed, over one HTTP/2 session. @connectrpc/connect-node speaks it too, with the headers of Node's fetch, which
 * takes 7 ms of each command to load. A call is bounded by its signal; nobody has headers or deadlines for it.
 */
export function daemonTransport(openStream: OpenStream): Transport {
  return {
    async unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      signal: AbortSignal | undefined,
      _timeoutMs: number | undefined,
      _header: HeadersInit,
      input: MessageInitShape<I>,
    ): Promise<UnaryResponse<I, O>> {
      using call = new WireCall(openStream, method, "application/proto", signal);
      call.end(encode(method.input, input));
      return new Response(false, method, fromBinary(method.output, await call.body()));
    },
    stream<I extends DescMessage, O extends DescMessage>(
      method: DescMethodStreaming<I, O>,
      signal: AbortSignal | undefined,
      _timeoutMs: number | undefined,
      _header: HeadersInit,
      input: AsyncIterable<MessageInitShape<I>>,
    ): Promise<StreamResponse<I, O>> {
      return Promise.resolve(new Response(true, method, exchange(openStream, method, signal, input)));
    },
  };
}

/** A response without headers: they are made for who looks at them, which nobody does. */
class Response<Stream extends boolean, M extends DescMethod, T> {
  readonly service: M["parent"];

  constructor(
    readonly stream: Stream,
    readonly method: M,
    readonly message: T,
  ) {
    this.service = method.parent;
  }

  get header(): Headers {
    return new Headers();
  }

  get trailer(): Headers {
    return new Headers();
  }
}

function encode<T extends DescMessage>(desc: T, message: MessageInitShape<T>): Uint8Array {
  return toBinary(desc, create(desc, message));
}

async function* exchange<I extends DescMessage, O extends DescMessage>(
  openStream: OpenStream,
  method: DescMethodStreaming<I, O>,
  signal: AbortSignal | undefined,
  input: AsyncIterable<MessageInitShape<I>>,
): AsyncGenerator<MessageShape<O>> {
  using call = new WireCall(openStream, method, "application/connect+proto", signal);
  void sendAll(call, method.input, input);
  let end: Buffer | undefined;
  for await (const { isEnd, data } of envelopes(call.answer())) {
    if (end !== undefined) throw violation("more than the end of a stream");
    if (isEnd) end = data;
    else yield fromBinary(method.output, data);
  }
  if (end === undefined) throw lost("the stream ended before its end was told");
  const error = await errorAtEnd(end);
  if (error !== undefined) throw error;
}

/** Sends what the input gives until the daemon wants no more; an input that fails ends the call with its error. */
async function sendAll<T extends DescMessage>(
  call: WireCall,
  desc: T,
  input: AsyncIterable<MessageInitShape<T>>,
): Promise<void> {
  try {
    for await (const message of input) {
      if (!(await call.send(envelope(encode(desc, message))))) return;
    }
    call.end();
  } catch (error) {
    call.fail(error);
  }
}
