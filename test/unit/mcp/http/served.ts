import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { serverBuilder, type ServerOptions } from "../../../../src/mcp/builder.js";
import { HTTP_LIMITS, serveHttp, type HttpLimits } from "../../../../src/mcp/http/index.js";
import { listenAddress } from "../../../../src/mcp/index.js";
import { startFakeDaemon, type FakeDaemon, type FakeScript } from "../../../fakes/fake-daemon.js";
import type { ERAS } from "../../../fakes/mcp-client.js";
import { temporaryState } from "../../../fakes/state-directory.js";

export const TOKEN = "a-token-that-the-user-made-0123456789";
const PROTOCOL = "2025-11-25";

/** What a server answered, before any protocol. */
export interface Answered {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** A server in this process, over a fake daemon. */
export interface Served extends AsyncDisposable {
  readonly url: URL;
  readonly daemon: FakeDaemon;
  /** A real client, of an era. */
  readonly client: (era: (typeof ERAS)[number]) => Promise<Client>;
  /** A request by hand, with the token: fetch sets Host by itself, this does not. */
  readonly ask: (asked?: Asked) => Promise<Answered>;
  /** Begins a session by hand, and gives its id. */
  readonly session: () => Promise<string>;
  /** Ends the server; resolves when it has ended. */
  readonly stop: () => Promise<void>;
}

export interface ServedOptions {
  readonly address?: string;
  readonly allowedHosts?: readonly string[];
  readonly limits?: Partial<HttpLimits>;
  readonly script?: FakeScript;
  readonly server?: ServerOptions;
}

/** Without an id it is a notification. */
export const message = (method: string, params: object = {}, id: number | null = 1): string =>
  JSON.stringify({ jsonrpc: "2.0", ...(id === null ? {} : { id }), method, params });

export const INITIALIZE = message("initialize", {
  ...{ protocolVersion: PROTOCOL, capabilities: {} },
  clientInfo: { name: "t", version: "1" },
});

export async function served({
  address = "0",
  allowedHosts,
  limits = {},
  script = {},
  server = { profile: "vm-run" },
}: ServedOptions = {}): Promise<Served> {
  const state = await temporaryState();
  const tokenFile = join(state.path, "token");
  await writeFile(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  const daemon = await startFakeDaemon(state.path, script);
  const builder = serverBuilder({ ...server, stateDir: state.path });
  const ended = new AbortController();
  let serving: Promise<void> | undefined;
  const place = await new Promise<string>((resolve, reject) => {
    serving = serveHttp(builder, listenAddress(address), {
      ...{ signal: ended.signal, tokenFile, allowedHosts, limits: { ...HTTP_LIMITS, ...limits } },
      onListening: ({ url }) => resolve(url),
    });
    serving.catch(reject);
  });
  const url = new URL(place);
  url.hostname = "127.0.0.1";
  const stop = async (): Promise<void> => {
    ended.abort();
    await serving;
  };
  const ask = async (given: Asked = {}) =>
    await asked(url, { ...given, headers: { authorization: `Bearer ${TOKEN}`, ...given.headers } });
  return {
    ...{ url, daemon, ask, stop },
    session: async () => String((await ask()).headers["mcp-session-id"]),
    client: async (era) => {
      const mode = era === "2026-07-28" ? { pin: era } : ("legacy" as const);
      const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
      const requestInit = { headers: { authorization: `Bearer ${TOKEN}` } };
      await client.connect(new StreamableHTTPClientTransport(url, { requestInit }));
      return client;
    },
    [Symbol.asyncDispose]: async () => {
      await stop();
      await builder[Symbol.asyncDispose]();
      await daemon[Symbol.asyncDispose]();
      await state[Symbol.asyncDispose]();
    },
  };
}

/** One request by hand: `initialize`, unless another is given. */
export async function asked(
  url: URL,
  { method = "POST", path = url.pathname, headers = {}, body }: Asked,
): Promise<Answered> {
  const json = { "content-type": "application/json", accept: "application/json, text/event-stream" };
  const { hostname: host, port } = url;
  const request = httpRequest({ host, port, path, method, agent: false, headers: { ...json, ...headers } });
  request.on("error", () => undefined);
  request.end(method === "POST" ? (body ?? INITIALIZE) : body);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  let text = "";
  response.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await once(response, "end");
  return { status: response.statusCode ?? 0, headers: response.headers, body: text };
}
