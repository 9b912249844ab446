import { connect, type Socket } from "node:net";
import { LIMITS } from "../protocol/index.js";
import { connectWithOneBuffer, type ReadableSocket } from "./inlet.js";
import type { RefusedBecause } from "./pipe.js";
import type { Target } from "./policy.js";
import { HOST_ALIAS } from "./reach.js";

/** Where the gateway connects to. Always an address: a name would be looked up again, by somebody else. */
export interface Place {
  readonly host: string;
  readonly port: number;
  /** That led to the address; for who decides the way, never to be looked up. */
  readonly names?: readonly string[];
  /** For a socket that is read as Node's streams are, by whoever has to say a word first. */
  readonly asStream?: boolean;
}

/** Connects to a place within the time of its signal, whose reason it throws; or throws what the socket says. */
export type Dial = (place: Place, signal: AbortSignal) => Promise<ReadableSocket>;

/** The place of an address that was judged: itself, or the host's loopback for its alias. */
export function placeOf({ address, port, names }: Target): Place {
  return { host: address.text === HOST_ALIAS.address.text ? "127.0.0.1" : address.text, port, names };
}

export const dialDirectly: Dial = async ({ host, port, asStream = false }, signal) => {
  signal.throwIfAborted();
  const to = { host, port, allowHalfOpen: true, autoSelectFamily: false };
  const socket = asStream ? connect(to) : connectWithOneBuffer(to);
  return await connected(socket, signal);
};

/** Waits until a socket is connected; nothing of it is left when it is not. */
async function connected<S extends Socket>(socket: S, signal: AbortSignal): Promise<S> {
  try {
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => reject(signal.reason as Error);
      signal.addEventListener("abort", abort, { once: true });
      socket.once("connect", () => {
        signal.removeEventListener("abort", abort);
        resolve();
      });
      socket.once("error", (error) => {
        signal.removeEventListener("abort", abort);
        reject(error);
      });
    });
  } catch (error) {
    socket.on("error", () => undefined);
    socket.destroy();
    throw error;
  }
  socket.setNoDelay(true);
  socket.setKeepAlive(true, LIMITS.networkKeepAliveMs);
  return socket;
}

/** What the program is told of a failure to connect, and the user. */
export function failureOf(error: unknown, { host, port }: Place): { because: RefusedBecause; why: string } {
  const code =
    (error as NodeJS.ErrnoException).code ?? (error instanceof Error ? error.message : String(error));
  const place = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  switch (code) {
    case "ECONNREFUSED":
    case "ECONNRESET":
      return { because: "refused", why: `${place} refused the connection` };
    case "ETIMEDOUT":
      return { because: "timed-out", why: `${place} did not answer` };
    case "EMFILE":
    case "ENFILE":
      return { because: "limit", why: "the host has no file descriptors left" };
    default:
      return { because: "unreachable", why: `${place} cannot be reached (${code})` };
  }
}
