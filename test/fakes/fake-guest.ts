import { createClient, type Client, type ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport } from "@connectrpc/connect-node";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Channel } from "../../src/guest/channel.js";
import {
  CHANNEL,
  HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  dataHeader,
  helloFrame,
  scan,
} from "../../src/guest/frame.js";
import { openSession, serveSession } from "../../src/guest/http2-session.js";
import {
  DiagnosticsService,
  EventService,
  SystemService,
} from "../../src/protocol/gen/pyro/guest/v1/guest_pb.js";

/** How the fake behaves; what is left out an honest agent would do. */
export interface FakeGuestScript {
  /** More services, or others in place of the fake's own. */
  readonly routes?: (router: ConnectRouter, session: FakeSession) => void;
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
  readonly channels: readonly Channel[];
  readonly events: Client<typeof EventService>;
  probeBytes = 0;

  constructor(
    readonly epoch: number,
    readonly socket: Socket,
    script: FakeGuestScript,
  ) {
    const wake = (): void => this.#pump();
    this.channels = Array.from({ length: 4 }, () => new Channel(wake).on("error", () => undefined));
    const handler = connectNodeAdapter({
      acceptCompression: [],
      routes: (router) => this.#routes(router, script),
    });
    serveSession(this.channel("control"), handler, () => undefined);
    serveSession(this.channel("bulk"), handler, () => undefined);
    const { manager } = openSession(this.channel("event"), () => undefined);
    const transport = createConnectTransport({
      baseUrl: "http://guest",
      httpVersion: "2",
      acceptCompression: [],
      sessionManager: manager,
    });
    this.events = createClient(EventService, transport);
  }

  channel(name: keyof typeof CHANNEL): Channel {
    return this.channels[CHANNEL[name]] as Channel;
  }

  deliver(index: number, part: Buffer): void {
    if (index === CHANNEL.probe) this.probeBytes += part.length;
    else this.channels[index]?.push(part);
  }

  end(): void {
    for (const channel of this.channels) channel.destroy();
  }

  #routes(router: ConnectRouter, script: FakeGuestScript): void {
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
        this.channel("probe").write(Buffer.alloc(Number(bytes)));
        return {};
      },
      drain: async ({ expectBytes }) => {
        while (this.probeBytes < Number(expectBytes)) await new Promise((resolve) => setImmediate(resolve));
        return { bytes: BigInt(this.probeBytes) };
      },
    });
    script.routes?.(router, this);
  }

  #pump(): void {
    for (const [index, channel] of this.channels.entries()) {
      while (channel.hasPending) {
        const { parts, length, done } = channel.nextPayload(MAX_PAYLOAD_BYTES);
        this.socket.write(dataHeader(index, this.epoch, length));
        for (const part of parts) this.socket.write(part);
        for (const call of done) call();
      }
    }
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
    let remaining = 0;
    let target = -1;
    socket.on("close", () => session?.end());
    socket.on("data", (chunk) => {
      let bytes = Buffer.concat([rest, chunk]);
      rest = Buffer.alloc(0);
      for (;;) {
        const part = bytes.subarray(0, remaining);
        if (part.length > 0 && target >= 0) session?.deliver(target, part);
        remaining -= part.length;
        bytes = bytes.subarray(part.length);
        if (remaining > 0 || bytes.length === 0) return;
        const { skipped, header } = scan(bytes, 0);
        bytes = bytes.subarray(skipped);
        if (header === undefined) {
          rest = bytes;
          return;
        }
        bytes = bytes.subarray(HEADER_BYTES);
        remaining = header.length;
        if (header.kind === "data") target = header.epoch === session?.epoch ? header.channel : -1;
        else session = this.#hello(socket, header.epoch, session);
      }
    });
  }

  #hello(socket: Socket, epoch: number, current: FakeSession | undefined): FakeSession | undefined {
    if (this.script.answersHello === false) return current;
    socket.write(helloFrame(epoch));
    if (current?.epoch === epoch) return current;
    current?.end();
    if (this.script.afterHello !== undefined) socket.write(this.script.afterHello(epoch));
    const session = new FakeSession(epoch, socket, this.script);
    this.sessions.push(session);
    return session;
  }
}
