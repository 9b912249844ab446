import { request as httpRequest, type ClientRequest } from "node:http";
import type { StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { type Client } from "@modelcontextprotocol/client";
import { describe, expect, it } from "vitest";
import { fakeWorkspaces } from "../../../fakes/fake-workspaces.js";
import { ERAS } from "../../../fakes/mcp-client.js";
import { slowRun } from "../../../fakes/slow-run.js";
import { message, served, TOKEN, type Served } from "./served.js";

const RUN_ID = "run-0123456789abcdef";
const RUN = { name: "vm_run", arguments: { command: "sleep 100" } };
const EXEC = { name: "workspace_exec", arguments: { workspace_id: "fix", command: "sleep 100" } };
const CORE = { profile: "workspace-core", noProjectSource: true } as const;

const FULL = { profile: "workspace-full", noProjectSource: true } as const;
const going = (): ReturnType<typeof fakeWorkspaces> =>
  fakeWorkspaces("", { running: true, result: undefined });

/** Longer than the server waits before it ends a command. */
const A_WHILE_MS = 400;
const aWhile = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, A_WHILE_MS));

/** A request of a session that stays open until it is destroyed. */
async function opened(
  { url }: Served,
  session: string,
  { method, body }: { readonly method: "GET" | "POST"; readonly body?: string },
): Promise<ClientRequest> {
  const request = httpRequest(url, {
    ...{ method, agent: false },
    headers: {
      ...{ authorization: `Bearer ${TOKEN}`, "mcp-session-id": session },
      ...{ "content-type": "application/json", accept: "application/json, text/event-stream" },
    },
  });
  request.end(body);
  return await new Promise((resolve, reject) => {
    request.once("error", reject);
    request.once("response", (response) => {
      response.on("error", () => undefined).resume();
      resolve(request.on("error", () => undefined));
    });
  });
}

const of = (session: string): Record<string, string> => ({ "mcp-session-id": session });
const ping = async (server: Served, session: string): Promise<number> =>
  (await server.ask({ headers: of(session), body: message("ping") })).status;

describe("a session", () => {
  it("ends with DELETE, with the calls that it waits for, and leaves the others alone", async () => {
    const { service, cancelled: commands } = going();
    const { script, cancelled: runs } = slowRun(1_000_000);
    await using server = await served({ server: FULL, script: { ...script, workspace: service } });
    const [one, other] = [await server.session(), await server.session()];
    const calls = [RUN, EXEC].map((call, id) =>
      server.ask({ headers: of(one), body: message("tools/call", call, id) }),
    );
    await expect.poll(() => server.daemon.calls).toContain("ReadRun");
    await expect.poll(() => server.daemon.calls).toContain("ReadCommand");
    expect((await server.ask({ method: "DELETE", headers: of(one) })).status).toBe(200);
    expect((await Promise.all(calls)).map(({ body }) => body)).toEqual(["", ""]);
    await expect.poll(() => runs).toEqual([RUN_ID]);
    await aWhile();
    // A workspace's command is there for the next one.
    expect(commands).toEqual([]);
    expect(await ping(server, one)).toBe(404);
    expect((await server.ask({ method: "DELETE", headers: of(one) })).status).toBe(404);
    expect(await ping(server, other)).toBe(200);
  });

  it("that nobody uses ends; one with an open stream stays", async () => {
    await using server = await served({ limits: { sessionIdleMs: 800 } });
    const [unused, listening] = [await server.session(), await server.session()];
    const stream = await opened(server, listening, { method: "GET" });
    await new Promise((resolve) => setTimeout(resolve, 1_600));
    expect(await ping(server, unused)).toBe(404);
    expect(await ping(server, listening)).toBe(200);
    stream.destroy();
    await new Promise((resolve) => setTimeout(resolve, 1_600));
    expect(await ping(server, listening)).toBe(404);
  });

  it("whose streams are quiet is kept open, longer than a connection may be still", async () => {
    const { script, cancelled } = slowRun(1_000_000);
    await using server = await served({ script, limits: { keepAliveMs: 100, stalledMs: 500 } });
    const id = await server.session();
    const stream = await opened(server, id, { method: "GET" });
    const call = await opened(server, id, { method: "POST", body: message("tools/call", RUN, 1) });
    let ended = 0;
    for (const request of [stream, call]) request.once("close", () => ended++);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect([ended, cancelled]).toEqual([0, []]);
    for (const request of [stream, call]) request.destroy();
  });

  it("too many takes the place of the one that was not used for longest; where all are in use it is refused", async () => {
    await using server = await served({ limits: { sessions: 3 } });
    const [first, second, third] = [await server.session(), await server.session(), await server.session()];
    expect(await ping(server, first)).toBe(200);
    const fourth = await server.session();
    expect([await ping(server, second), await ping(server, first)]).toEqual([404, 200]);
    const streams = await Promise.all(
      [first, third, fourth].map((id) => opened(server, id, { method: "GET" })),
    );
    const { status, headers, body } = await server.ask();
    expect(status).toBe(503);
    expect(headers["retry-after"]).toBe("5");
    expect(body).toContain("all 3 sessions are in use");
    streams[1]?.destroy();
    await expect.poll(async () => (await server.ask()).status).toBe(200);
    expect([await ping(server, first), await ping(server, third)]).toEqual([200, 404]);
    for (const stream of streams) stream.destroy();
  });

  it("that could not begin takes no place", async () => {
    await using server = await served({ limits: { sessions: 1 } });
    for (let i = 0; i < 3; i++) expect((await server.ask({ headers: { accept: "*" } })).status).toBe(406);
    const id = await server.session();
    expect(await ping(server, id)).toBe(200);
  });

  it("and what is asked in it are bounded together with all requests", async () => {
    await using server = await served({ limits: { requests: 2 } });
    const ids = [await server.session(), await server.session()];
    const streams = await Promise.all(ids.map((id) => opened(server, id, { method: "GET" })));
    const { status, headers, body } = await server.ask();
    expect(status).toBe(503);
    expect(headers["retry-after"]).toBe("1");
    expect(body).toContain("2 requests are being answered");
    // Who has no token learns nothing of it.
    expect((await server.ask({ headers: { authorization: "" } })).status).toBe(401);
    for (const stream of streams) stream.destroy();
    await expect.poll(async () => (await server.ask()).status).toBe(200);
  });
});

describe("a client that goes away", () => {
  it("without a word, of a session, ends its one-shot run, and leaves a workspace's command running", async () => {
    const { service, cancelled: commands } = going();
    const { script, cancelled: runs } = slowRun(1_000_000);
    await using host = await served({ server: FULL, script: { ...script, workspace: service } });
    const id = await host.session();
    const run = await opened(host, id, { method: "POST", body: message("tools/call", RUN, 1) });
    const exec = await opened(host, id, { method: "POST", body: message("tools/call", EXEC, 2) });
    await expect.poll(() => host.daemon.calls).toContain("ReadRun");
    await expect.poll(() => host.daemon.calls).toContain("ReadCommand");
    run.destroy();
    exec.destroy();
    await expect.poll(() => runs).toEqual([RUN_ID]);
    await aWhile();
    expect(commands).toEqual([]);
    expect(await ping(host, id)).toBe(200);
  });

  it.each(ERAS)("by cancelling ends the command that it waits for, era %s", async (era) => {
    const { service, cancelled } = going();
    await using server = await served({ server: CORE, script: { workspace: service } });
    const client = await server.client(era);
    const controller = new AbortController();
    const onprogress = (): void => controller.abort();
    await expect(client.callTool(EXEC, { signal: controller.signal, onprogress })).rejects.toThrow();
    await expect.poll(() => cancelled).toEqual([7]);
    expect((await client.listTools()).tools).toHaveLength(18);
    await client.close();
  });

  it("by cancelling, again and again, keeps no place taken: what is cancelled is not waited for", async () => {
    const { service, cancelled } = going();
    await using server = await served({
      ...{ server: CORE, script: { workspace: service } },
      limits: { requests: 4 },
    });
    const client = await server.client("2025-11-25");
    for (let count = 1; count <= 6; count++) {
      const controller = new AbortController();
      const onprogress = (): void => controller.abort();
      await expect(client.callTool(EXEC, { signal: controller.signal, onprogress })).rejects.toThrow();
      await expect.poll(() => cancelled).toHaveLength(count);
    }
    expect((await client.listTools()).tools).toHaveLength(18);
    await client.close();
  });

  it("and cancels its request 1 does nothing to another's request 1", async () => {
    const { service, cancelled } = going();
    await using server = await served({ server: CORE, script: { workspace: service } });
    const [one, other] = [await server.session(), await server.session()];
    const exec = await opened(server, one, { method: "POST", body: message("tools/call", EXEC, 1) });
    const cancel = message("notifications/cancelled", { requestId: 1 }, null);
    expect((await server.ask({ headers: of(other), body: cancel })).status).toBe(202);
    await aWhile();
    expect(cancelled).toEqual([]);
    expect((await server.ask({ headers: of(one), body: cancel })).status).toBe(202);
    await expect.poll(() => cancelled).toEqual([7]);
    exec.destroy();
  });
});

describe("the end of the server", () => {
  it.each(ERAS)(
    "ends runs that are waited for before it is over, and leaves commands running, era %s",
    async (era) => {
      const { service, cancelled: commands } = going();
      const { script, cancelled: runs } = slowRun(1_000_000);
      await using host = await served({ server: FULL, script: { ...script, workspace: service } });
      const client = await host.client(era);
      const calls = [RUN, EXEC].map((call) => client.callTool(call).catch(() => "failed"));
      await expect.poll(() => host.daemon.calls).toContain("ReadRun");
      await expect.poll(() => host.daemon.calls).toContain("ReadCommand");
      await host.stop();
      expect(runs).toEqual([RUN_ID]);
      expect(commands).toEqual([]);
      await close(client);
      expect(await Promise.all(calls)).toEqual(["failed", "failed"]);
      await expect(fetch(host.url)).rejects.toThrow();
    },
  );
});

/** Of a server that is gone. */
async function close(client: Client): Promise<void> {
  await client.close().catch(() => undefined);
}

it("the SDK's own client ends its session", async () => {
  await using server = await served({ limits: { sessions: 1 } });
  const client = await server.client("2025-11-25");
  const transport = client.transport as StreamableHTTPClientTransport;
  const id = transport.sessionId ?? "";
  expect(await ping(server, id)).toBe(200);
  await transport.terminateSession();
  expect(await ping(server, id)).toBe(404);
  await client.close();
});
