import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type DescService,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { envelope, envelopes } from "./envelope.js";
import { WireCall, type OpenStream } from "./wire-call.js";
import { failureAtEnd, lost, violation } from "./wire-failure.js";

/** What a call takes here. Nobody has headers or a deadline for it: its signal bounds it. */
interface Options {
  readonly signal?: AbortSignal;
}

type Input = MessageInitShape<DescMessage>;
type Inputs = AsyncIterable<Input>;

/**
 * The typed client of a service: the Connect protocol (https://connectrpc.com/docs/protocol) with binary messages,
 * uncompressed, over streams of one HTTP/2 session. Connect's own client speaks it too; loading that, with the headers of
 * Node's fetch, was a tenth of what a short command costs on this side.
 */
export function wireClient<S extends DescService>(service: S, openStream: OpenStream): Client<S> {
  const calls = service.methods.map((method) => [method.localName, callOf(method, openStream)] as const);
  return Object.fromEntries(calls) as Client<S>;
}

function callOf(method: DescMethod, openStream: OpenStream) {
  switch (method.methodKind) {
    case "unary":
      return (input: Input, options?: Options) => ask(openStream, method, options, input);
    case "server_streaming":
      return (input: Input, options?: Options) => exchange(openStream, method, options, only(input));
    case "client_streaming":
      return (inputs: Inputs, options?: Options) => last(exchange(openStream, method, options, inputs));
    case "bidi_streaming":
      return (inputs: Inputs, options?: Options) => exchange(openStream, method, options, inputs);
  }
}

async function ask(
  openStream: OpenStream,
  method: DescMethod,
  options: Options | undefined,
  input: Input,
): Promise<MessageShape<DescMessage>> {
  using call = new WireCall(openStream, method, "application/proto", options?.signal);
  call.end(encode(method.input, input));
  return fromBinary(method.output, await call.body());
}

async function* exchange(
  openStream: OpenStream,
  method: DescMethod,
  options: Options | undefined,
  inputs: Inputs,
): AsyncGenerator<MessageShape<DescMessage>> {
  using call = new WireCall(openStream, method, "application/connect+proto", options?.signal);
  void sendAll(call, method.input, inputs);
  let end: Buffer | undefined;
  for await (const { isEnd, data } of envelopes(call.answer())) {
    if (end !== undefined) throw violation("more than the end of a stream");
    if (isEnd) end = data;
    else yield fromBinary(method.output, data);
  }
  if (end === undefined) throw lost("the stream ended before its end was told");
  const failure = failureAtEnd(end);
  if (failure !== undefined) throw failure;
}

/** Sends what there is until the daemon wants no more; an input that fails ends the call with its error. */
async function sendAll(call: WireCall, desc: DescMessage, inputs: Inputs): Promise<void> {
  try {
    for await (const input of inputs) {
      if (!(await call.send(envelope(encode(desc, input))))) return;
    }
    call.end();
  } catch (error) {
    call.fail(error);
  }
}

function encode(desc: DescMessage, input: Input): Uint8Array {
  return toBinary(desc, create(desc, input));
}

async function* only(input: Input): AsyncGenerator<Input> {
  yield await Promise.resolve(input);
}

/** The one answer to a stream of requests. */
async function last<T>(answers: AsyncIterable<T>): Promise<T> {
  let found: T | undefined;
  for await (const answer of answers) found = answer;
  if (found === undefined) throw violation("no answer");
  return found;
}
