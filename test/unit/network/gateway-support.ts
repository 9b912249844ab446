import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import {
  Gateway,
  NetworkRecord,
  parseAddress,
  policyFromFlags,
  SharedLookUp,
  type Dial,
  type GatewayOptions,
  type IncomingPipe,
  type LookAtFirstBytes,
  type RefusedBecause,
} from "../../../src/network/index.js";
import { dialDirectly } from "../../../src/network/dial.js";

/** What a pipe takes before its reader has. */
const CREDIT_BYTES = 256 * 1024;

/** A program's end of a connection, in memory, with a bound both ways. */
export class FakePipe implements IncomingPipe {
  answer: "opened" | { readonly because: RefusedBecause; readonly message: string } | undefined;
  /** What came from the server. */
  readonly received: Buffer[] = [];
  receivedBytes = 0;
  isFinished = false;
  resetWith: string | undefined;
  /** False: takes nothing. */
  reads = true;
  readonly #gone = new AbortController();
  readonly #toServer: (Uint8Array | undefined)[] = [];
  #toServerBytes = 0;
  #wake: (() => void)[] = [];

  get broken(): AbortSignal {
    return this.#gone.signal;
  }

  async open(): Promise<void> {
    this.answer = "opened";
    this.#changed();
  }

  async refuse(because: RefusedBecause, message: string): Promise<void> {
    this.answer = { because, message };
    this.#changed();
  }

  async read(): Promise<Uint8Array | undefined> {
    await this.#until(() => this.#toServer.length > 0);
    const next = this.#toServer.shift();
    this.#toServerBytes -= next?.length ?? 0;
    this.#changed();
    return next;
  }

  async write(data: Uint8Array): Promise<void> {
    await this.#until(() => this.reads);
    this.received.push(Buffer.from(data));
    this.receivedBytes += data.length;
    this.#changed();
  }

  async finish(): Promise<void> {
    this.isFinished = true;
    this.#changed();
  }

  reset(message: string): void {
    this.resetWith ??= message;
    this.#gone.abort(new Error(message));
    this.#changed();
  }

  /** The program sends; waits for credit. */
  async send(data: Uint8Array | string): Promise<void> {
    const bytes = Buffer.from(data);
    await this.#until(() => this.#toServerBytes < CREDIT_BYTES);
    this.#toServer.push(bytes);
    this.#toServerBytes += bytes.length;
    this.#changed();
  }

  /** The program sends no more. */
  end(): void {
    this.#toServer.push(undefined);
    this.#changed();
  }

  /** The program resets it. */
  abandon(): void {
    this.#gone.abort(new Error("the program left"));
    this.#changed();
  }

  /** From now on it takes what comes. */
  resume(): void {
    this.reads = true;
    this.#changed();
  }

  get text(): string {
    return Buffer.concat(this.received).toString();
  }

  async answered(): Promise<NonNullable<FakePipe["answer"]>> {
    while (this.answer === undefined) await new Promise<void>((resolve) => this.#wake.push(resolve));
    return this.answer;
  }

  async #until(condition: () => boolean): Promise<void> {
    for (;;) {
      this.#gone.signal.throwIfAborted();
      if (condition()) return;
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  #changed(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

/** A server on the loopback, for tests only. */
export class LoopbackServer implements AsyncDisposable {
  readonly sockets = new Set<Socket>();
  acceptedCount = 0;
  private constructor(private readonly server: Server) {}

  static async start(serve: (socket: Socket) => void): Promise<LoopbackServer> {
    const server = createServer({ allowHalfOpen: true });
    const made = new LoopbackServer(server);
    server.on("connection", (socket) => {
      made.acceptedCount += 1;
      made.sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => made.sockets.delete(socket));
      serve(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return made;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** Passes everything. */
export const lookAtNothing: LookAtFirstBytes = () => ({ kind: "pass", sees: { protocol: "other" } });

export const WEB = "203.0.114.7";

export function bytesOf(address: string): Uint8Array {
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new Error(`no address: ${address}`);
  return parsed.bytes;
}

/** Dials 127.0.0.1 instead of the address that was judged, and notes that. */
export function dialLoopback(dialled: string[] = []): Dial {
  return async ({ host, port }, signal) => {
    dialled.push(`${host} ${port}`);
    return await dialDirectly({ host: "127.0.0.1", port }, signal);
  };
}

export interface GatewayScript extends Partial<Omit<GatewayOptions, "policy" | "lookUp">> {
  readonly flags?: Parameters<typeof policyFromFlags>[0];
  readonly names?: Readonly<Record<string, readonly string[]>>;
}

/** A gateway over names of its own and the loopback. */
export function makeGateway({ flags = {}, names = {}, ...rest }: GatewayScript = {}): Gateway {
  return new Gateway({
    policy: policyFromFlags({ mode: "egress", ...flags }),
    record: new NetworkRecord(),
    lookUp: new SharedLookUp((name) => {
      const found = names[name];
      const error = Object.assign(new Error("not found"), { code: "ENOTFOUND" });
      return found === undefined ? Promise.reject(error) : Promise.resolve(found);
    }),
    look: lookAtNothing,
    dial: dialLoopback(),
    ...rest,
  });
}

export interface Started {
  readonly pipe: FakePipe;
  readonly over: Promise<void>;
}

/** A program that connects. */
export function start(gateway: Gateway, address: string, port: number, openedBy = ""): Started {
  const pipe = new FakePipe();
  return { pipe, over: gateway.connect({ address: bytesOf(address), port, openedBy }, pipe) };
}

/** A server that gives back what it gets. */
export const echo = (server: { pipe: (to: unknown) => unknown }): unknown => server.pipe(server);
