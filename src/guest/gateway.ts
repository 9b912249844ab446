import { create, fromBinary, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { LIMITS } from "../protocol/index.js";
import {
  AddressFamily,
  ConnectRequestSchema,
  ConnectResponseSchema,
  GatewayService,
  RefusedBecause,
  ResolveFailure,
  ResolveRequestSchema,
  ResolveResponseSchema,
} from "../protocol/gen/pyro/guest/v1/network_pb.js";
import { type Call, type Window } from "./call.js";
import { Callee, onlyMessage, type Method } from "./callee.js";
import { protocolError } from "./errors.js";
import type { HostLink } from "./link.js";
import { CallStream, type GuestStream } from "./stream.js";

/** A connection that a program of the guest wants; nothing of it is to be believed. */
export interface ConnectTarget {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** 1 to 65535. */
  readonly port: number;
  /** What the agent says opened it: text of the guest, at most 256 characters. */
  readonly openedBy: string;
}

/** Why a connection does not come about; network.proto says what the program sees. */
export type Refusal = "policy" | "refused" | "unreachable" | "timed-out" | "limit";

/** A connection that is not answered yet: first `open` or `refuse`, once. */
export interface IncomingStream extends GuestStream {
  /** Tells the program that it is connected. */
  open(): Promise<void>;
  /** Tells the program that it will not be; that is the end of it. */
  refuse(because: Refusal, message: string): Promise<void>;
}

export interface NameQuery {
  /** Of any characters. */
  readonly name: string;
  readonly family: "ipv4" | "ipv6";
}

export type NameAnswer =
  | { readonly addresses: readonly Uint8Array[]; readonly ttlSeconds: number }
  | { readonly failure: "not-found" | "refused" | "failed" };

/** Who answers what programs of the guest want of the network. */
export interface GatewayHandlers {
  resolve(query: NameQuery, signal: AbortSignal): Promise<NameAnswer>;
  /** Resolves when the connection is over, however it ended. */
  connect(target: ConnectTarget, stream: IncomingStream): Promise<void>;
  /** One of the two threw, which neither should; the agent was told that the host failed. */
  onDefect(error: unknown): void;
}

/** Of a call that the agent makes (proto/LINK.md, Calls, 8). */
export const NETWORK_WINDOW: Window = {
  bytes: LIMITS.networkWindowBytes,
  packetCostBytes: LIMITS.networkPacketCostBytes,
};

const OPENED_BY_CHARACTERS = 256;
/** The name of a query, in bytes of UTF-8; DNS allows 253 characters. */
const NAME_CHARACTERS = 1024;

const nobody: GatewayHandlers = {
  resolve: () => Promise.resolve({ failure: "refused" }),
  connect: (_target, stream) => stream.refuse("policy", "this machine has no network"),
  onDefect: () => undefined,
};

/** Serves the network channel of a link: nobody answers before `handlers` are set, so all is refused. */
export class GatewayCalls {
  handlers: GatewayHandlers = nobody;
  readonly #callee: Callee;

  constructor(link: HostLink) {
    const { resolve, connect } = GatewayService.method;
    const name = (method: { readonly name: string }): string => `${GatewayService.typeName}/${method.name}`;
    this.#callee = new Callee(link, "network", {
      methods: new Map<string, Method>([
        [name(resolve), (call) => this.#resolve(call)],
        [name(connect), (call) => this.#connect(call)],
      ]),
      callsMax: LIMITS.networkCalls,
      readMaxBytes: LIMITS.networkMessageBytes,
      window: NETWORK_WINDOW,
      onDefect: (error) => this.handlers.onDefect(error),
    });
  }

  get callCount(): number {
    return this.#callee.callCount;
  }

  async #resolve(call: Call): Promise<Uint8Array> {
    const { name, family } = decode(ResolveRequestSchema, await onlyMessage(call));
    if (name.length > NAME_CHARACTERS) throw protocolError(`a name of ${name.length} characters`);
    const families = { [AddressFamily.IPV4]: "ipv4", [AddressFamily.IPV6]: "ipv6" } as const;
    const known = families[family as keyof typeof families] as "ipv4" | "ipv6" | undefined;
    if (known === undefined) throw protocolError(`addresses of the family ${family}`);
    const answer = await this.handlers.resolve({ name, family: known }, call.broken);
    const failures = {
      "not-found": ResolveFailure.NOT_FOUND,
      refused: ResolveFailure.REFUSED,
      failed: ResolveFailure.FAILED,
    };
    const message =
      "failure" in answer
        ? { failure: failures[answer.failure] }
        : { addresses: [...answer.addresses], ttlSeconds: answer.ttlSeconds };
    return toBinary(ResolveResponseSchema, create(ResolveResponseSchema, message));
  }

  async #connect(call: Call): Promise<undefined> {
    const { part } = decode(ConnectRequestSchema, await onlyMessage(call));
    if (part.case !== "open") throw protocolError("a connection without its target");
    const { address, port, openedBy } = part.value;
    if (address.length !== 4 && address.length !== 16) throw protocolError(`an address of ${address.length} bytes`);
    if (port < 1 || port > 0xffff) throw protocolError(`the port ${port}`);
    const stream = new ServedStream(call);
    const target = { address: Uint8Array.from(address), port, openedBy: openedBy.slice(0, OPENED_BY_CHARACTERS) };
    await this.handlers.connect(target, stream);
    if (!stream.isRefused && !stream.isWhole) throw stream.failure ?? call.broken.reason ?? protocolError("half a connection");
    return undefined;
  }
}

class ServedStream extends CallStream implements IncomingStream {
  isRefused = false;

  constructor(private readonly served: Call) {
    super(served, (message) => decode(ConnectRequestSchema, message).part);
  }

  async open(): Promise<void> {
    await this.#say({ case: "opened", value: {} });
  }

  async refuse(because: Refusal, message: string): Promise<void> {
    const codes = {
      policy: RefusedBecause.POLICY,
      refused: RefusedBecause.REFUSED,
      unreachable: RefusedBecause.UNREACHABLE,
      "timed-out": RefusedBecause.TIMED_OUT,
      limit: RefusedBecause.LIMIT,
    };
    this.isRefused = true;
    await this.#say({ case: "refused", value: { because: codes[because], message } });
  }

  async #say(part: { case: "opened"; value: object } | { case: "refused"; value: { because: RefusedBecause; message: string } }): Promise<void> {
    await this.served.send(toBinary(ConnectResponseSchema, create(ConnectResponseSchema, { part })));
  }
}

function decode<T extends DescMessage>(desc: T, bytes: Buffer): MessageShape<T> {
  try {
    return fromBinary(desc, bytes);
  } catch (error) {
    throw protocolError(`a message that is no ${desc.typeName}`, error);
  }
}
