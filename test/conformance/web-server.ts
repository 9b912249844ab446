import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";

/** Serves web-standard requests on a free port of the loopback; closing it ends the connections. */
export async function webServer(
  answer: (request: Request) => Promise<Response>,
): Promise<AsyncDisposable & { readonly origin: string }> {
  const server = createServer((incoming, outgoing) => {
    respond(incoming, outgoing, answer).catch((error: unknown) => outgoing.destroy(error as Error));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, "close");
    },
  };
}

async function respond(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  answer: (request: Request) => Promise<Response>,
): Promise<void> {
  const left = new AbortController();
  outgoing.once("close", () => left.abort());
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value));
  const request = new Request(`http://${incoming.headers.host ?? "none"}${incoming.url ?? "/"}`, {
    ...{ method: incoming.method ?? "GET", headers, signal: left.signal },
    ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
  });
  const response = await answer(request);
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  if (response.body === null) return void outgoing.end();
  outgoing.flushHeaders();
  const body = Readable.fromWeb(response.body);
  left.signal.addEventListener("abort", () => body.destroy(), { once: true });
  body.once("error", () => outgoing.destroy()).pipe(outgoing);
}
