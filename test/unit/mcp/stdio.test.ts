import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { builtId, PYRO, startBuilt } from "../../fakes/built-command.js";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { ERAS } from "../../fakes/mcp-client.js";
import { temporaryState } from "../../fakes/state-directory.js";

const serve = (state: string) => ["--state-dir", state, "mcp", "serve", "--profile", "vm-run"];

test.each(ERAS)("the built server answers a real client over stdio, era %s", async (era) => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path, { buildId: await builtId() });
  const mode = era === "2026-07-28" ? { pin: era } : ("legacy" as const);
  const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [PYRO, ...serve(state.path)],
  });
  await client.connect(transport);
  const { pid } = transport;
  expect((await client.listTools()).tools).toHaveLength(1);
  const { content } = await client.callTool({ name: "vm_run", arguments: { argv: ["echo", "hi"] } });
  expect(content[1]).toEqual({ type: "text", text: "hi\n" });
  await client.close();
  await expect.poll(() => existsSync(`/proc/${pid ?? 0}`)).toBe(false);
});

test("standard output carries JSON-RPC only, and the end of input ends the server", async () => {
  await using state = await temporaryState();
  const child = startBuilt(serve(state.path), { stdio: ["pipe", "pipe", "pipe"] });
  const send = (message: object): void =>
    void child.stdin?.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const clientInfo = { name: "t", version: "1" };
  send({
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo },
  });
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  send({ method: "notifications/initialized" });
  send({ id: 2, method: "tools/list" });
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  child.stdin?.end();
  const { code, stdout, stderr } = await child.ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const lines = stdout.toString().trim().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { id: number }).id)).toEqual([1, 2]);
  expect(existsSync(join(state.path, "daemon.lock"))).toBe(false);
});

test("a signal ends the server", async () => {
  await using state = await temporaryState();
  const child = startBuilt(serve(state.path), { stdio: ["pipe", "pipe", "pipe"] });
  child.stdin?.write('{"jsonrpc":"2.0","id":1,"method":"ping"}\n');
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  child.kill("SIGTERM");
  expect((await child.ended).signal ?? "ended").toBe("ended");
});

test("the default profile names its project on standard error, in one line, and lists without a daemon", async () => {
  await using state = await temporaryState();
  const client = new Client({ name: "test", version: "1" });
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [PYRO, "--state-dir", state.path, "mcp", "serve", "--no-project-source"],
    stderr: "pipe",
  });
  let stderr = "";
  transport.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  await client.connect(transport);
  expect((await client.listTools()).tools).toHaveLength(18);
  expect(stderr).toBe("pyro: project source: none, as asked for\n");
  expect(existsSync(join(state.path, "daemon.lock"))).toBe(false);
  const { pid } = transport;
  await client.close();
  await expect.poll(() => existsSync(`/proc/${pid ?? 0}`)).toBe(false);
});
