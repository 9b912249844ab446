import { once } from "node:events";
import { readFile, stat } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { createServer } from "node:net";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listenAddress } from "../../../src/mcp/index.js";
import { httpToken } from "../../../src/mcp/http/index.js";
import { builtId, startBuilt } from "../../fakes/built-command.js";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { ERAS } from "../../fakes/mcp-client.js";
import { temporaryState } from "../../fakes/state-directory.js";

describe("where it listens", () => {
  it.each([
    ["8765", { host: "127.0.0.1", port: 8765 }],
    ["0", { host: "127.0.0.1", port: 0 }],
    ["localhost:80", { host: "127.0.0.1", port: 80 }],
    ["127.0.0.1:65535", { host: "127.0.0.1", port: 65535 }],
    ["[::1]:9", { host: "::1", port: 9 }],
  ])("%s", (text, address) => {
    expect(listenAddress(text)).toEqual(address);
  });

  it.each(["0.0.0.0:80", "[::]:80", "192.168.1.2:80", "example.org:80", ":80", "x:"])("not at %s", (text) => {
    expect(() => listenAddress(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error);
  });

  it.each(["65536", "-1", "", "80x", "1e3", "999999"])("not at the port %j", (text) => {
    expect(() => listenAddress(text)).toThrow(/is no port/);
  });
});

describe("the token", () => {
  it("stays from one start to the next, for the user alone, and two that start at once agree", async () => {
    await using state = await temporaryState();
    const made = await Promise.all([httpToken(state.path), httpToken(state.path)]);
    expect(made[0]).toEqual(made[1]);
    expect(made[0].token).toMatch(/^[\w-]{43}$/);
    expect((await stat(made[0].path)).mode & 0o777).toBe(0o600);
    expect(await httpToken(state.path)).toEqual(made[0]);
  });
});

describe("pyro mcp serve --http", () => {
  let state: Awaited<ReturnType<typeof temporaryState>>;
  let served: ReturnType<typeof startBuilt>;
  let url: URL;
  let token: string;
  beforeEach(async () => {
    state = await temporaryState();
    served = startBuilt(["--state-dir", state.path, "mcp", "serve", "--profile", "vm-run", "--http", "0"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    while (!said.includes("the token is in"))
      said += String((await once(served.stderr ?? served, "data"))[0]);
    url = new URL(/http:\S+/.exec(said)?.[0] ?? "");
    token = (await readFile(/token is in (\S+)/.exec(said)?.[1] ?? "", "utf8")).trim();
    expect(said).not.toContain(token);
  });
  afterEach(async () => {
    served.kill("SIGTERM");
    const { stdout } = await served.ended;
    expect(stdout.toString()).toBe("");
    await expect(fetch(url)).rejects.toThrow();
    await state[Symbol.asyncDispose]();
  });

  it.each(ERAS)("serves a client that has the token, era %s", async (era) => {
    await using _daemon = await startFakeDaemon(state.path, { buildId: await builtId() });
    const mode = era === "2026-07-28" ? { pin: era } : ("legacy" as const);
    const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
    const requestInit = { headers: { authorization: `Bearer ${token}` } };
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit }));
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(["vm_run"]);
    const { content } = await client.callTool({ name: "vm_run", arguments: { argv: ["echo", "hi"] } });
    expect(content[1]).toEqual({ type: "text", text: "hi\n" });
    await client.close();
  });

  /** Fetch sets Host by itself; this does not. */
  async function post(headers: Record<string, string>, path = url.pathname, body = INITIALIZE) {
    const { port } = url;
    const request = httpRequest({
      host: "127.0.0.1",
      port,
      path,
      method: "POST",
      headers: { ...JSON_HEADERS, ...headers },
    });
    request.on("error", () => undefined);
    request.end(body);
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.resume();
    return { status: response.statusCode, cors: response.headers["access-control-allow-origin"] };
  }

  it("answers nobody else, and no page of a browser", async () => {
    const good = { authorization: `Bearer ${token}`, host: url.host };
    const refused = (status: number) => ({ status, cors: undefined });
    expect(await post(good)).toEqual(refused(200));
    expect(await post({ host: url.host })).toEqual(refused(401));
    expect(await post({ ...good, authorization: `Bearer ${token}x` })).toEqual(refused(401));
    expect(await post({ ...good, authorization: `Basic ${token}` })).toEqual(refused(401));
    expect(await post({ ...good, host: "attacker.example" })).toEqual(refused(403));
    expect(await post({ ...good, host: `localhost.attacker.example:${url.port}` })).toEqual(refused(403));
    expect(await post({ ...good, origin: "https://attacker.example" })).toEqual(refused(403));
    expect(await post({ ...good, origin: "null" })).toEqual(refused(403));
    expect(await post(good, "/")).toEqual(refused(404));
    expect(await post({ ...good, "mcp-session-id": "of-nobody" })).toEqual(refused(404));
    expect(await post(good, url.pathname, "x".repeat(11 * 1024 * 1024))).toEqual(refused(413));
    const preflight = await fetch(url, { method: "OPTIONS", headers: { origin: "http://localhost:1" } });
    expect(preflight.status).toBe(401);
    expect(await post(good)).toEqual(refused(200));
  });
});

const JSON_HEADERS = { "content-type": "application/json", accept: "application/json, text/event-stream" };
const INITIALIZE = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } },
});

it("says which port is taken, and what to type", async () => {
  await using state = await temporaryState();
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  const { ended } = startBuilt([
    "--state-dir",
    state.path,
    "mcp",
    "serve",
    "--no-project-source",
    "--http",
    String(port),
  ]);
  const { code, stderr } = await ended;
  taken.close();
  expect(code).toBe(1);
  expect(stderr).toMatch(new RegExp(`port ${port}: .*EADDRINUSE[^]*0 for a free one`));
});
