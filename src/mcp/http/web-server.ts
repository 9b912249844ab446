import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { PyroError } from "../../protocol/index.js";
import type { ListenAddress } from "./listen-address.js";

export type Answer = (request: Request) => Promise<Response>;

/** Listens until it is disposed of, which ends the connections. */
export interface WebServer extends AsyncDisposable {
  /** Such as http://127.0.0.1:8080. */
  readonly origin: string;
}

/** As much as a message on standard input may have (SDK 2.4). */
const BODY_BYTES_MAX = 10 * 1024 * 1024;

/**
 * Serves web-standard requests.
 * @throws {PyroError} INVALID_ARGUMENT where the port is taken or not ours to take
 */
export async function webServer(
  answer: Answer,
  { host, port }: ListenAddress = { host: "127.0.0.1", port: 0 },
): Promise<WebServer> {
  const server = createServer((incoming, outgoing) => {
    respond(incoming, outgoing, answer).catch((error: unknown) => outgoing.destroy(error as Error));
  });
  server.listen(port, host);
  await once(server, "listening").catch((error: unknown) => {
    throw new PyroError(
      "INVALID_ARGUMENT",
      `cannot listen on ${host}, port ${port}: ${(error as Error).message}`,
      {
        hint: "name another port, or 0 for a free one",
        cause: error,
      },
    );
  });
  const { port: taken } = server.address() as AddressInfo;
  return {
    origin: `http://${host.includes(":") ? `[${host}]` : host}:${taken}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, "close");
    },
  };
}

async function respond(incoming: IncomingMessage, outgoing: ServerResponse, answer: Answer): Promise<void> {
  const left = new AbortController();
  outgoing.once("close", () => left.abort());
  const body = await bodyOf(incoming);
  if (body === undefined) return void outgoing.writeHead(413, { connection: "close" }).end();
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value));
  const request = new Request(`http://${incoming.headers.host ?? "none"}${incoming.url ?? "/"}`, {
    ...{ method: incoming.method ?? "GET", headers, signal: left.signal },
    ...(body.length === 0 ? {} : { body }),
  });
  const response = await answer(request);
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  if (response.body === null) return void outgoing.end();
  outgoing.flushHeaders();
  const stream = Readable.fromWeb(response.body);
  left.signal.addEventListener("abort", () => stream.destroy(), { once: true });
  stream.once("error", () => outgoing.destroy()).pipe(outgoing);
}

/** Undefined when it is too large. */
async function bodyOf(incoming: IncomingMessage): Promise<Buffer<ArrayBuffer> | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
