import { setMaxListeners } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { LIMITS, PyroError } from "../protocol/index.js";
import { Connection, OPEN_GATE } from "./connection.js";
import type { GuestPipe } from "./pipe.js";

/** Ports below are for the host's own services, whoever runs the daemon. */
const FIRST_PORT = 1024;
const LOOPBACK = "127.0.0.1";

/** A connection into the guest; to be left, however it ends. */
export interface DialledPipe extends GuestPipe {
  leave(): Promise<void>;
}

/** What became of one connection to a published port. */
export interface PublishedConnection {
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly end: string;
}

export interface PublishOptions {
  /** 0: the system chooses. */
  readonly hostPort: number;
  readonly guestPort: number;
  /** Connects to the port in the guest. */
  readonly dial: (guestPort: number, signal: AbortSignal) => Promise<DialledPipe>;
  /** Told when a connection begins; what it gives back when that one has ended. */
  readonly onConnection?: () => (ended: PublishedConnection) => void;
}

/** A port of the host's loopback, 127.0.0.1 alone, that leads to one of the guest's. Closing it resets what is open. */
export class PublishedPort implements AsyncDisposable {
  readonly guestPort: number;
  readonly #server: Server;
  readonly #open = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  private constructor(
    server: Server,
    private readonly options: PublishOptions,
  ) {
    this.#server = server;
    this.guestPort = options.guestPort;
    // One for each connection.
    setMaxListeners(0, this.#closing.signal);
    server.maxConnections = LIMITS.networkPublishedConnections;
    server.on("connection", (socket) => {
      const serving = this.#serve(socket);
      this.#open.add(serving);
      void serving.finally(() => this.#open.delete(serving));
    });
  }

  /**
   * Listens.
   * @throws {PyroError} INVALID_ARGUMENT, PORT_PRIVILEGED, PORT_TAKEN
   */
  static async open(options: PublishOptions): Promise<PublishedPort> {
    const { hostPort, guestPort } = options;
    checkPort(hostPort, 0, "on the host");
    checkPort(guestPort, 1, "in the machine");
    if (hostPort > 0 && hostPort < FIRST_PORT) throw privileged(hostPort);
    // A server keeps a socket half open only where it was made so.
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host: LOOPBACK, port: hostPort, exclusive: true }, resolve);
      });
    } catch (error) {
      throw listenError(options, error);
    }
    return new PublishedPort(server, options);
  }

  /** The port on the host; also where the system chose it. */
  get hostPort(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? this.options.hostPort;
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** Nobody is accepted any more, and what is open is reset. Resolves when no socket is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error("the port is not published any more"));
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
    await Promise.all(this.#open);
  }

  async #serve(socket: Socket): Promise<void> {
    socket.on("error", () => undefined);
    const ended = this.options.onConnection?.();
    const { signal } = this.#closing;
    let pipe: DialledPipe;
    const left = new AbortController();
    const leave = (): void => left.abort(new Error("the client left"));
    socket.once("close", leave);
    try {
      pipe = await this.options.dial(this.guestPort, AbortSignal.any([signal, left.signal]));
    } catch (error) {
      socket.resetAndDestroy();
      ended?.({ bytesUp: 0, bytesDown: 0, end: PyroError.from(error).message });
      return;
    }
    const connection = new Connection(pipe, socket, OPEN_GATE);
    const stop = (): void => connection.end({ kind: "ended", why: (signal.reason as Error).message });
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const end = await connection.carry();
    signal.removeEventListener("abort", stop);
    await pipe.leave();
    const { bytesUp, bytesDown } = connection;
    ended?.({ bytesUp, bytesDown, end: end.kind === "finished" ? "finished" : end.why });
  }
}

function checkPort(port: number, least: number, where: string): void {
  if (Number.isInteger(port) && port >= least && port <= 65_535) return;
  throw new PyroError("INVALID_ARGUMENT", `${port} is no port ${where}`, {
    hint: "publish [HOST:]GUEST, such as 8080:3000; ports are 1 to 65535",
  });
}

function privileged(port: number): PyroError {
  return new PyroError("PORT_PRIVILEGED", `port ${port} of the host is reserved for its own services`, {
    hint: `publish a port from ${FIRST_PORT} on, such as ${8000 + port}, or none, so that the system chooses one`,
  });
}

function listenError(
  { hostPort: port, guestPort }: Pick<PublishOptions, "hostPort" | "guestPort">,
  error: unknown,
): PyroError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") {
    return new PyroError("PORT_TAKEN", `port ${port} of 127.0.0.1 is in use on the host`, {
      hint: `publish another one, such as ${port === 65_535 ? 8080 : port + 1}:${guestPort}, or ${guestPort} alone, so that the system chooses`,
    });
  }
  if (code === "EACCES") return privileged(port);
  return new PyroError("INTERNAL", `port ${port} of 127.0.0.1 cannot be listened on: ${String(code)}`, {
    cause: error,
  });
}
