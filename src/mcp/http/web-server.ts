import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { PyroError } from "../../protocol/index.js";
import type { Answer } from "./exchange.js";
import { HTTP_LIMITS, type HttpLimits } from "./limits.js";
import type { ListenAddress } from "./listen-address.js";
import { refusal, refusalBody } from "./refusal.js";

/** Listens until it is disposed of, which ends the connections. */
export interface WebServer extends AsyncDisposable {
  /** Such as http://127.0.0.1:8080. */
  readonly origin: string;
}

type WebServerLimits = Pick<
  HttpLimits,
  "bodyBytes" | "connections" | "headersMs" | "requestMs" | "stalledMs"
>;

/** Read of a body that is refused, in bodies of the largest size. */
const BODIES_FORGOTTEN = 4;
/** How often late requests are looked for, as a part of the time they have. */
const CHECKS = 4;

/**
 * Serves web-standard requests. Whoever is slow to ask or to read, or asks for too much, is refused.
 * @throws {PyroError} PORT_TAKEN, PORT_PRIVILEGED; INVALID_ARGUMENT where the address is not this machine's
 */
export async function webServer(
  answer: Answer,
  address: Pick<ListenAddress, "host" | "port"> = { host: "127.0.0.1", port: 0 },
  limits: WebServerLimits = HTTP_LIMITS,
): Promise<WebServer> {
  const answered = new WeakSet<Socket>();
  const server = createServer(
    {
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      connectionsCheckingInterval: Math.ceil(limits.headersMs / CHECKS),
    },
    (incoming, outgoing) => {
      respond(incoming, outgoing, {
        answer,
        bodyBytes: limits.bodyBytes,
        onHeaders: () => answered.add(incoming.socket),
      })
        .catch((error: unknown) => outgoing.destroy(error as Error))
        .finally(() => answered.delete(incoming.socket));
    },
  );
  server.maxConnections = limits.connections;
  server.timeout = limits.stalledMs;
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    // In the middle of an answer there is no place for another one.
    if (answered.has(socket) || !socket.writable) socket.destroy();
    else refuseRaw(socket, error.code);
  });
  server.listen(address.port, address.host);
  await once(server, "listening").catch((error: unknown) => {
    throw listenError(address, error);
  });
  const { port: taken } = server.address() as AddressInfo;
  const { host } = address;
  return {
    origin: `http://${host.includes(":") ? `[${host}]` : host}:${taken}`,
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

interface Responding {
  readonly answer: Answer;
  readonly bodyBytes: number;
  /** The answer begins to be sent. */
  readonly onHeaders: () => void;
}

async function respond(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { answer, bodyBytes, onHeaders }: Responding,
): Promise<void> {
  const left = new AbortController();
  outgoing.once("close", () => left.abort());
  const request = requestOf(incoming, left.signal);
  const body = (): Promise<Buffer | undefined> => bodyOf(incoming, bodyBytes);
  const response =
    request === undefined
      ? refusal(400, "this is no request that can be read")
      : await answer({ request, body, closed: left.signal }).catch(() =>
          refusal(500, "Internal server error"),
        );
  // A client that still writes while the connection ends would see that only, and not the answer.
  if (!incoming.complete) await forgetBody(incoming, BODIES_FORGOTTEN * bodyBytes);
  if (outgoing.destroyed) return await response.body?.cancel();
  onHeaders();
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.flushHeaders();
  if (response.body === null) return void outgoing.end();
  // A client that goes away ends the stream; that is no failure of the server.
  await pipeline(Readable.fromWeb(response.body), outgoing).catch(() => outgoing.destroy());
}

function requestOf(incoming: IncomingMessage, signal: AbortSignal): Request | undefined {
  const headers = new Headers();
  try {
    for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value));
    // Of Host, whoever asks says what he likes: it is looked at as a header only.
    const url = new URL(incoming.url ?? "/", "http://pyro.invalid");
    return new Request(url, { method: incoming.method ?? "GET", headers, signal });
  } catch {
    return undefined;
  }
}

/** Undefined when it is too large. */
async function bodyOf(incoming: IncomingMessage, bytesMax: number): Promise<Buffer | undefined> {
  if (Number(incoming.headers["content-length"] ?? 0) > bytesMax) return undefined;
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Reads what nobody wants, up to so much; no longer than a request may take. */
async function forgetBody(incoming: IncomingMessage, bytesMax: number): Promise<void> {
  let bytes = 0;
  try {
    for await (const chunk of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > bytesMax) return;
    }
  } catch {
    // The client left.
  }
}

/** The answer to what is not, or not in time, a request. */
function refuseRaw(socket: Socket, code: string | undefined): void {
  const [status, message] =
    code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? ["408 Request Timeout", "the request took too long to come"]
      : code === "HPE_HEADER_OVERFLOW"
        ? ["431 Request Header Fields Too Large", "the headers are larger than this server takes"]
        : ["400 Bad Request", "this is no HTTP request"];
  const body = JSON.stringify(refusalBody(message));
  socket.write(
    `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  socket.destroySoon();
}

function listenError(
  { host, port }: { readonly host: string; readonly port: number },
  error: unknown,
): PyroError {
  const { code, message } = error as NodeJS.ErrnoException;
  const options = { cause: error };
  const other = "name another port, or 0 for a free one: `pyro mcp serve --http 0`";
  if (code === "EADDRINUSE")
    return new PyroError("PORT_TAKEN", `port ${port} of ${host} is in use on this machine`, {
      ...options,
      hint: other,
    });
  if (code === "EACCES")
    return new PyroError("PORT_PRIVILEGED", `port ${port} of ${host} is not for this user`, {
      ...options,
      hint: "ports from 1024 on are, such as `pyro mcp serve --http 8765`",
    });
  return new PyroError("INVALID_ARGUMENT", `cannot listen on ${host}, port ${port}: ${message}`, {
    ...options,
    hint: "name an address of this machine, as `ip address` lists them, or none for its loopback",
  });
}
