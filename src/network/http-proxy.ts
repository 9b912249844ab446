import type { Socket } from "node:net";
import { LIMITS, PyroError } from "../protocol/index.js";
import { parseAddress } from "./address.js";
import { cidrContains, parseCidr } from "./cidr.js";
import { dialDirectly, type Dial, type Place } from "./dial.js";
import { isBelow } from "./names.js";
import { isProblem } from "./problem.js";

/** The host's proxy, as its user's environment says; the daemon's configuration hands it over. */
export interface ProxySettings {
  /** HTTPS_PROXY: `http://[user:password@]host[:port]`. Used for every connection, since each is a CONNECT. */
  readonly httpsProxy?: string | undefined;
  /** HTTP_PROXY: where there is no other. */
  readonly httpProxy?: string | undefined;
  /** NO_PROXY: names (with those below them), addresses, blocks, or `*`; what is reached directly. */
  readonly noProxy?: string | undefined;
}

interface Proxy {
  readonly host: string;
  readonly port: number;
  readonly authorization: string | undefined;
}

/**
 * Connects through the host's proxy, to the address that was judged: the proxy looks nothing up. The host's own loopback,
 * and what NO_PROXY names, is reached directly.
 * @throws {PyroError} CONFIG_INVALID when a proxy's address is none
 */
export function dialByProxy(settings: ProxySettings, direct: Dial = dialDirectly): Dial {
  const text = settings.httpsProxy ?? settings.httpProxy;
  if (text === undefined || text === "") return direct;
  const proxy = parseProxy(text);
  const isDirect = directPlaces(settings.noProxy ?? "");
  return async (place, signal) => {
    if (place.host === LOOPBACK || isDirect(place)) return await direct(place, signal);
    const socket = await direct({ ...proxy, asStream: true }, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      // Its own code would be taken for the server's.
      throw failure(
        `the host's proxy cannot be reached: ${(error as NodeJS.ErrnoException).code ?? "unknown"}`,
      );
    });
    try {
      await openTunnel(socket, proxy, place, signal);
      return socket;
    } catch (error) {
      socket.on("error", () => undefined);
      socket.destroy();
      throw error;
    }
  };
}

const LOOPBACK = "127.0.0.1";
const USUAL_PORT = 3128;

function parseProxy(text: string): Proxy {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" || url.hostname === "") {
    throw new PyroError("CONFIG_INVALID", "the host's proxy is no address that begins with http://", {
      hint: "set HTTPS_PROXY to http://HOST:PORT, or unset it, and start the daemon anew",
    });
  }
  const user = `${decoded(url.username)}:${decoded(url.password)}`;
  return {
    host: url.hostname.replace(/^\[|\]$/g, ""),
    // The URL of a proxy at port 80 has no port either.
    port: url.port === "" ? (/:80\/?$/.test(text) ? 80 : USUAL_PORT) : Number(url.port),
    authorization: user === ":" ? undefined : `Basic ${Buffer.from(user).toString("base64")}`,
  };
}

/** A percent sign that begins no escape stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function directPlaces(list: string): (place: Place) => boolean {
  const entries = list
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== "");
  return ({ host, names = [] }) => entries.some((entry) => matches(entry, host, names));
}

function matches(entry: string, host: string, names: readonly string[]): boolean {
  if (entry === "*") return true;
  const address = parseAddress(host);
  const cidr = parseCidr(entry);
  if (address !== undefined && !isProblem(cidr) && cidrContains(cidr, address)) return true;
  const name = entry.replace(/^\*?\./, "");
  return names.some((one) => one === name || isBelow(one, name));
}

/** Asks the proxy for a tunnel, and leaves the socket where the tunnel's first byte begins. */
async function openTunnel(
  socket: Socket,
  proxy: Proxy,
  { host, port }: Place,
  signal: AbortSignal,
): Promise<void> {
  const authority = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const credentials =
    proxy.authorization === undefined ? "" : `Proxy-Authorization: ${proxy.authorization}\r\n`;
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credentials}\r\n`);
  const status = await readStatus(socket, signal);
  if (status < 200 || status > 299) {
    throw failure(`the proxy answered ${status}`);
  }
}

/** Its words stand where a socket's error has its code, as the place cannot be reached because of them. */
function failure(why: string): Error {
  return Object.assign(new Error(why), { code: why });
}

/** Reads the head of the proxy's answer; bytes behind it go back to the socket. */
async function readStatus(socket: Socket, signal: AbortSignal): Promise<number> {
  let head = Buffer.alloc(0);
  return await new Promise<number>((resolve, reject) => {
    const done = (finish: () => void): void => {
      socket.off("readable", read);
      socket.off("error", failed);
      socket.off("close", ended);
      socket.off("end", ended);
      signal.removeEventListener("abort", aborted);
      finish();
    };
    const fail = (why: string): void => done(() => reject(failure(why)));
    const failed = (error: Error): void => done(() => reject(error));
    const ended = (): void => fail("the proxy hung up");
    const aborted = (): void => done(() => reject(signal.reason as Error));
    const read = (): void => {
      for (
        let chunk = socket.read() as Buffer | null;
        chunk !== null;
        chunk = socket.read() as Buffer | null
      ) {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf("\r\n\r\n");
        if (end < 0 && head.length <= LIMITS.httpHeadBytes) continue;
        const status = /^HTTP\/1\.[01] ([1-5]\d\d)\b/.exec(head.toString("latin1", 0, 32))?.[1];
        if (end < 0 || status === undefined) {
          fail("the proxy does not speak HTTP");
          return;
        }
        const rest = head.subarray(end + 4);
        done(() => {
          if (rest.length > 0) socket.unshift(rest);
          resolve(Number(status));
        });
        return;
      }
    };
    socket.on("readable", read);
    socket.on("error", failed);
    socket.on("close", ended);
    socket.on("end", ended);
    signal.addEventListener("abort", aborted, { once: true });
  });
}
