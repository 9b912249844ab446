import { createClient, type Client } from "@connectrpc/connect";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Caller } from "../../src/guest/caller.js";
import { FrameReader } from "../../src/guest/frame-reader.js";
import { FrameWriter } from "../../src/guest/frame-writer.js";
import { CHANNEL, HEADER_BYTES, MAX_PAYLOAD_BYTES, helloFrame, scan } from "../../src/guest/frame.js";
import type { HostLink } from "../../src/guest/link.js";
import { callTransport } from "../../src/guest/transport.js";
import {
  DiagnosticsService,
  EventService,
  SystemService,
} from "../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { FakeCallee, GuestRouter } from "./fake-callee.js";

/** How the fake behaves; what is left out an honest agent would do. */
export interface FakeGuestScript {
  /** More services, or others in place of the fake's own. */
  readonly routes?: (router: GuestRouter, session: FakeSession) => void;
  /** False: never answers HELLO. */
  readonly answersHello?: boolean;
  /** Bytes sent before the answer to the first HELLO: a stale tail. */
  readonly staleBytes?: Buffer;
  /** Bytes sent right after the answer. */
  readonly afterHello?: (epoch: number) => Buffer;
  /** What the hello says in place of the epoch. */
  readonly claimsEpoch?: number;
}

/** One epoch of the fake: the agent's side of the link, by the same frame code. */
export class FakeSession {
  readonly events: Client<typeof EventService>;
  readonly control: FakeCallee;
  readonly bulk: FakeCallee;
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
    this.control = new FakeCallee((head, tail) => this.send("control", head, tail), router);
    this.bulk = new FakeCallee((head, tail) => this.send("bulk", head, tail), router);
    this.events = createClient(EventService, callTransport(new Caller(this.#asLink(), "event", 1024), 0));
  }

  /** Sends a packet; the first HEADER_BYTES of `head` are the link's. */
  send(channel: keyof typeof CHANNEL, head: Buffer, tail?: Uint8Array): void {
    this.#writer.send(CHANNEL[channel], head, tail);
  }

  read(bytes: Buffer): void {
    this.#reader.read(bytes);
  }

  end(): void {
    this.#writer.end();
  }

  #receiveEvent: (packet: Buffer) => void = () => undefined;

  /** What a Caller needs of a link: on the event channel the agent is the one who calls. */
  #asLink(): HostLink {
    return {
      onPacket: (_channel: string, receive: (packet: Buffer) => void) => (this.#receiveEvent = receive),
      send: (channel: keyof typeof CHANNEL, head: Buffer, tail?: Uint8Array) =>
        this.send(channel, head, tail),
      closed: new Promise(() => undefined),
      reason: undefined,
    } as unknown as HostLink;
  }

  #deliver(channel: number, payload: Buffer): void {
    if (channel === CHANNEL.probe) this.probeBytes += payload.length;
    else if (channel === CHANNEL.control) this.control.receive(payload);
    else if (channel === CHANNEL.bulk) this.bulk.receive(payload);
    else this.#receiveEvent(payload);
  }

  #routes(router: GuestRouter, script: FakeGuestScript): void {
    router.service(SystemService, {
      hello: () => ({
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
      session = this.#hello(socket, header.epoch);
      if (session !== undefined) session.read(rest);
      rest = Buffer.alloc(0);
    });
  }

  #hello(socket: Socket, epoch: number): FakeSession | undefined {
    if (this.script.answersHello === false) return undefined;
    socket.write(helloFrame(epoch));
    if (this.script.afterHello !== undefined) socket.write(this.script.afterHello(epoch));
    const session = new FakeSession(epoch, socket, this.script);
    this.sessions.push(session);
    return session;
  }
}
