import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createClient, type Client } from "@connectrpc/connect";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Caller } from "../../src/guest/caller.js";
import { FrameReader } from "../../src/guest/frame-reader.js";
import { FrameWriter } from "../../src/guest/frame-writer.js";
import { CHANNEL, HEADER_BYTES, MAX_PAYLOAD_BYTES, helloFrame, scan } from "../../src/guest/frame.js";
import { NETWORK_WINDOW } from "../../src/guest/gateway.js";
import type { HostLink } from "../../src/guest/link.js";
import { CallStream } from "../../src/guest/stream.js";
import { callTransport } from "../../src/guest/transport.js";
import {
  DiagnosticsService,
  EventService,
  SystemService,
} from "../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import {
  ConnectRequestSchema,
  ConnectResponseSchema,
  GatewayService,
  type ConnectResponse,
} from "../../src/protocol/gen/pyro/guest/v1/network_pb.js";
import { FakeCallee, GuestRouter } from "./fake-callee.js";

/** How the fake behaves; what is left out an honest agent would do. */
export interface FakeGuestScript {
  /** More services, or others in place of the fake's own. */
  readonly routes?: (router: GuestRouter, session: FakeSession) => void;
  /** False: never answers HELLO on connections that are made then. */
  readonly answersHello?: boolean;
  /** Bytes sent before the answer to the first HELLO: a stale tail. */
  readonly staleBytes?: Buffer;
  /** Bytes sent right after the answer. */
  readonly afterHello?: (epoch: number) => Buffer;
  /** Besides "network". */
  readonly capabilities?: readonly string[];
  /** What the hello says in place of the epoch. */
  readonly claimsEpoch?: number;
}

/** A connection that the fake's program asked for. */
export interface FakeConnection {
  readonly answer: ConnectResponse["part"];
  readonly stream: CallStream;
  /** Resolves when the gateway has ended the call well; rejects with what it ended it with. */
  readonly ended: () => Promise<void>;
}

/** One epoch of the fake: the agent's side of the link, by the same frame code. */
export class FakeSession {
  readonly events: Client<typeof EventService>;
  readonly control: FakeCallee;
  readonly bulk: FakeCallee;
  readonly gateway: Client<typeof GatewayService>;
  readonly gatewayCaller: Caller;
  probeBytes = 0;
  readonly #writer: FrameWriter;
  readonly #reader: FrameReader;

  constructor(
    readonly epoch: number,
    readonly socket: Socket,
    script: FakeGuestScript,
  ) {
    this.#writer = new FrameWriter(socket, epoch);
    this.#reader = new FrameReader(epoch, { skippedBytes: 0, droppedFrames: 0 }, (channel, payload) =>
      this.#deliver(channel, payload),
    );
    const router = new GuestRouter();
    this.#routes(router, script);
    this.control = new FakeCallee((head, tail, taken) => this.send("control", head, tail, taken), router);
    this.bulk = new FakeCallee((head, tail, taken) => this.send("bulk", head, tail, taken), router);
    this.events = createClient(
      EventService,
      callTransport(new Caller(this.#asLink("event"), "event", 1024), 0),
    );
    const link = this.#asLink("network");
    this.gatewayCaller = new Caller(link, "network", 1024 * 1024, NETWORK_WINDOW);
    this.gateway = createClient(GatewayService, callTransport(this.gatewayCaller, 0));
  }

  /** Asks the gateway for a connection, as the agent does; what it answered first, and the stream. */
  async connect(address: readonly number[], port: number, openedBy = ""): Promise<FakeConnection> {
    const target = { address: Uint8Array.from(address), port, openedBy };
    const first = create(ConnectRequestSchema, { part: { case: "open", value: target } });
    const name = `${GatewayService.typeName}/${GatewayService.method.connect.name}`;
    const message = toBinary(ConnectRequestSchema, first);
    const open = this.gatewayCaller.open({ name, timeoutMs: 0, signal: undefined, message, isLast: false });
    const parse = (bytes: Buffer): ConnectResponse["part"] => fromBinary(ConnectResponseSchema, bytes).part;
    const answer = await open.call.next();
    return {
      answer: answer === undefined ? { case: undefined } : parse(answer),
      stream: new CallStream(open.call, parse, open.leave),
      ended: async () => {
        while ((await open.call.next()) !== undefined);
      },
    };
  }

  /** Sends a packet; the first HEADER_BYTES of `head` are the link's. */
  send(channel: keyof typeof CHANNEL, head: Buffer, tail?: Uint8Array, taken?: () => void): void {
    this.#writer.send(CHANNEL[channel], head, tail, taken);
  }

  read(bytes: Buffer): void {
    this.#reader.read(bytes);
  }

  end(): void {
    this.#writer.end();
  }

  /** Who takes the packets of the channels on which the agent is the one who calls. */
  readonly #receivers = new Map<number, (packet: Buffer) => void>();

  /** What a Caller needs of a link. */
  #asLink(channel: "event" | "network"): HostLink {
    return {
      onPacket: (_channel: string, receive: (packet: Buffer) => void) =>
        this.#receivers.set(CHANNEL[channel], receive),
      send: (channel: keyof typeof CHANNEL, head: Buffer, tail?: Uint8Array, taken?: () => void) =>
        this.send(channel, head, tail, taken),
      closed: new Promise(() => undefined),
      reason: undefined,
    } as unknown as HostLink;
  }

  #deliver(channel: number, payload: Buffer): void {
    if (channel === CHANNEL.probe) this.probeBytes += payload.length;
    else if (channel === CHANNEL.control) this.control.receive(payload);
    else if (channel === CHANNEL.bulk) this.bulk.receive(payload);
    else this.#receivers.get(channel)?.(payload);
  }

  #routes(router: GuestRouter, script: FakeGuestScript): void {
    router.service(SystemService, {
      hello: () => ({
        capabilities: ["network", ...(script.capabilities ?? [])],
        agentVersion: "fake",
        epoch: script.claimsEpoch ?? this.epoch,
        kernelRelease: "6.1.0-fake",
      }),
      ping: () => ({}),
    });
    router.service(DiagnosticsService, {
      flood: ({ bytes }) => {
        for (let left = Number(bytes); left > 0; left -= MAX_PAYLOAD_BYTES) {
          this.send("probe", Buffer.alloc(HEADER_BYTES + Math.min(left, MAX_PAYLOAD_BYTES)));
        }
        return {};
      },
      drain: async ({ expectBytes }) => {
        while (this.probeBytes < Number(expectBytes)) await new Promise((resolve) => setImmediate(resolve));
        return { bytes: BigInt(this.probeBytes) };
      },
    });
    script.routes?.(router, this);
  }
}

/** A scripted agent behind a unix socket of its own directory, for tests without a machine. */
export class FakeGuest implements AsyncDisposable {
  readonly path: string;
  /** All that connected, in order. */
  readonly sockets: Socket[] = [];
  readonly sessions: FakeSession[] = [];

  private constructor(
    readonly directory: string,
    private readonly server: Server,
    private readonly script: FakeGuestScript,
  ) {
    this.path = join(directory, "agent.sock");
    server.on("connection", (socket) => this.serve(socket));
  }

  static async start(script: FakeGuestScript = {}): Promise<FakeGuest> {
    const guest = new FakeGuest(await mkdtemp(join(tmpdir(), "pyro-fake-guest-")), createServer(), script);
    await new Promise<void>((resolve) => guest.server.listen(guest.path, resolve));
    return guest;
  }

  /** The newest epoch. */
  get session(): FakeSession {
    const session = this.sessions.at(-1);
    if (session === undefined) throw new Error("nobody has connected to the fake guest");
    return session;
  }

  /** Ends the connection as a host's port does when its machine dies. */
  hangUp(): void {
    this.sockets.at(-1)?.destroy();
  }

  /** Resolves when every host that connected has hung up. */
  async untilHostsLeft(): Promise<void> {
    const open = this.sockets.filter((socket) => !socket.closed);
    await Promise.all(open.map((socket) => new Promise((resolve) => socket.once("close", resolve))));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.sessions) session.end();
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Answers one connection; also of a port that another server accepted. */
  serve(socket: Socket): void {
    this.sockets.push(socket);
    socket.on("error", () => undefined);
    if (this.script.staleBytes !== undefined) socket.write(this.script.staleBytes);
    let session: FakeSession | undefined;
    let rest = Buffer.alloc(0);
    const isMute = this.script.answersHello === false;
    socket.on("close", () => session?.end());
    socket.on("data", (chunk) => {
      if (session !== undefined) {
        session.read(chunk);
        return;
      }
      // Before the first HELLO only that is looked for: a host sends one epoch per connection.
      const bytes = Buffer.concat([rest, chunk]);
      const { skipped, header } = scan(bytes, 0);
      rest = bytes.subarray(skipped);
      if (header === undefined) return;
      rest = rest.subarray(HEADER_BYTES);
      if (!isMute) session = this.#hello(socket, header.epoch);
      session?.read(rest);
      rest = Buffer.alloc(0);
    });
  }

  #hello(socket: Socket, epoch: number): FakeSession {
    socket.write(helloFrame(epoch));
    if (this.script.afterHello !== undefined) socket.write(this.script.afterHello(epoch));
    const session = new FakeSession(epoch, socket, this.script);
    this.sessions.push(session);
    return session;
  }
}
