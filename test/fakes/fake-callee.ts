import {
  create,
  fromBinary,
  toBinary,
  type DescMethod,
  type DescService,
  type MessageShape,
  type DescMessage,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { Call, dispatch, type SendPacket } from "../../src/guest/call.js";
import { FLAG, KIND, parsePacket } from "../../src/guest/packet.js";
import { ErrorDetailSchema, StatusSchema } from "../../src/protocol/gen/pyro/guest/v1/guest_pb.js";

const READ_MAX_BYTES = 16 * 1024 * 1024;
const DEADLINE_BYTES = 4;

type Handler = (input: AsyncIterable<unknown>) => AsyncIterable<unknown>;

/** Takes services as Connect's router does; a later one replaces methods of an earlier one. */
export class GuestRouter {
  readonly methods = new Map<string, { readonly method: DescMethod; readonly handler: Handler }>();

  service<T extends DescService>(service: T, implementation: Partial<ServiceImpl<T>>): this {
    for (const method of service.methods) {
      const serve = (implementation as Record<string, ((input: unknown) => unknown) | undefined>)[
        method.localName
      ];
      if (serve === undefined) continue;
      const handler: Handler = async function* (input) {
        const isOne = method.methodKind === "unary" || method.methodKind === "server_streaming";
        const argument: unknown = isOne ? (await input[Symbol.asyncIterator]().next()).value : input;
        const result = serve(argument);
        if (method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming")
          yield* result as AsyncIterable<unknown>;
        else yield await result;
      };
      this.methods.set(`${service.typeName}/${method.name}`, { method, handler });
    }
    return this;
  }
}

/** The agent's side of the calls on one channel. */
export class FakeCallee {
  readonly #calls = new Map<number, Call>();

  constructor(
    private readonly send: SendPacket,
    private readonly router: GuestRouter,
  ) {}

  /** Calls that are under way. */
  get callCount(): number {
    return this.#calls.size;
  }

  receive(bytes: Buffer): void {
    const packet = parsePacket(bytes);
    const call = this.#calls.get(packet.id);
    if (packet.kind === KIND.call) this.#accept(bytes, packet);
    else if (packet.kind === KIND.cancel) {
      call?.fail(new ConnectError("cancelled", Code.Canceled));
      this.#calls.delete(packet.id);
    } else if (packet.kind === KIND.end) call?.end({});
    else if (call !== undefined) dispatch(call, packet);
  }

  #accept(bytes: Buffer, { id, flags, body }: ReturnType<typeof parsePacket>): void {
    const call = new Call(id, this.send, READ_MAX_BYTES);
    this.#calls.set(id, call);
    const begin = DEADLINE_BYTES + bytes.readUInt16BE(2);
    const name = body.toString("utf8", DEADLINE_BYTES, begin);
    if ((flags & FLAG.withMessage) !== 0) call.add(body.subarray(begin), flags & ~FLAG.withMessage, false);
    void this.#serve(call, name);
  }

  async #serve(call: Call, name: string): Promise<void> {
    try {
      const found = this.router.methods.get(name);
      if (found === undefined) throw new ConnectError(`no method ${name}`, Code.Unimplemented);
      const { input, output, methodKind } = found.method;
      const isStream = methodKind === "server_streaming" || methodKind === "bidi_streaming";
      for await (const message of found.handler(messages(call, input))) {
        const encoded = toBinary(output, create(output, message as MessageShape<typeof output>));
        if (!(await call.send(encoded, isStream ? 0 : FLAG.last))) return;
      }
      if (isStream) call.endInput();
    } catch (error) {
      if (this.#calls.has(call.id)) call.sendBare(KIND.end, toBinary(StatusSchema, statusOf(error)));
    } finally {
      this.#calls.delete(call.id);
    }
  }
}

async function* messages<T extends DescMessage>(call: Call, desc: T): AsyncGenerator<MessageShape<T>> {
  for (;;) {
    const bytes = await call.next();
    if (bytes === undefined) return;
    yield fromBinary(desc, bytes);
  }
}

function statusOf(error: unknown): MessageShape<typeof StatusSchema> {
  const failure = ConnectError.from(error);
  const [detail] = failure.findDetails(ErrorDetailSchema);
  return create(StatusSchema, {
    code: failure.code,
    message: failure.rawMessage,
    ...(detail === undefined ? {} : { detail }),
  });
}
