/** Services as a model, a person and a program see them: the real domain over a fake machine. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Pyro } from "../../../src/sdk/index.js";
import { cli } from "../../fakes/cli-host.js";
import type { FakeSupervisor } from "../../fakes/fake-supervisor.js";
import { mcpSession, type McpSession } from "../../fakes/mcp-client.js";
import { serveWorkspaces, WorkspaceHost } from "../../fakes/workspace-host.js";

let host: WorkspaceHost;
let served: Awaited<ReturnType<typeof serveWorkspaces>>;
let session: McpSession;
let id: string;
beforeEach(async () => {
  host = await WorkspaceHost.start();
  served = await serveWorkspaces(host);
  id = (await host.create({ name: "fix-1" })).id;
  session = await mcpSession({
    ...{ mode: "cold-start", noProjectSource: true, stateDir: served.stateDir, blockMs: 2_500 },
  });
});
afterEach(async () => {
  await session[Symbol.asyncDispose]();
  await served[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

const web = { workspace_id: "fix-1", service_name: "web" };
const FILE = { type: "file", path: "ready" };
const supervisor = (): FakeSupervisor => host.machines.machine.supervisor;
const tool = (name: string, args: Record<string, unknown> = {}) =>
  session.tool(`service_${name}`, { ...web, ...args });
const pyro = (...args: string[]) => cli(["--state-dir", served.stateDir, "workspace", "service", ...args]);

describe("A model", () => {
  it("of mode cold-start has the tools of services, and instructions that say when to use them", async () => {
    const { tools } = await session.client.listTools();
    const own = tools.filter(({ name }) => name.startsWith("service_"));
    expect(own.map(({ name, annotations }) => [name, annotations?.readOnlyHint])).toEqual([
      ["service_start", false],
      ["service_list", true],
      ["service_status", true],
      ["service_logs", true],
      ["service_stop", false],
    ]);
    const words = JSON.stringify(
      own.map(({ name, description, inputSchema }) => [name, description, inputSchema]),
    );
    // A token is about four characters of this.
    expect(words.length / 4).toBeLessThan(900);
    const instructions = session.client.getInstructions() ?? "";
    expect(Buffer.byteLength(instructions)).toBeLessThan(2_048);
    expect(instructions).toContain("A server belongs in service_start");
  });

  it("starts one, and is told what waits for it where that takes longer than a call", async () => {
    const running = await tool("start", { command: "serve" });
    expect(running.record).toMatchObject({
      workspace_id: id,
      service_name: "web",
      state: "running",
      restarts: 0,
    });
    expect(running.record).toMatchObject({
      readiness: null,
      published_ports: [],
      exit_code: null,
      stop_reason: null,
    });
    const starting = await tool("start", { service_name: "slow", argv: ["serve", "it"], readiness: FILE });
    expect(starting.record).toMatchObject({ state: "starting", readiness: FILE, command: "serve it" });
    const next = `service_status(workspace_id="${id}", service_name="slow", wait_seconds=40)`;
    expect(starting.record["next"]).toBe(next);
    expect(starting.texts[0]).toContain(`next: ${next}`);
    const waiting = tool("status", { service_name: "slow", wait_seconds: 40 });
    supervisor().change("slow", { state: "running" });
    expect((await waiting).record).toMatchObject({ state: "running" });
  });

  it("is told why one failed, and the call that shows the rest", async () => {
    const failing = tool("start", { command: "serve", readiness: FILE });
    while (!supervisor().services.has("web")) await new Promise((resolve) => setTimeout(resolve, 5));
    supervisor().logs.set("web", { stdout: "", stderr: "port is taken\n" });
    supervisor().change("web", {
      state: "failed",
      end: "exited_before_ready",
      exitCode: 1,
      failure: "it ended",
    });
    const { isError, texts } = await failing;
    expect([isError, texts[0]]).toEqual([
      true,
      "SERVICE_FAILED: service web failed: it ended. What it wrote last:\nport is taken\n" +
        `hint: service_logs(workspace_id="${id}", service_name="web") shows all of it; the name is free for another start`,
    ]);
  });

  it.each([
    [{ type: "tcp", path: "x" }, "readiness of type tcp is given path"],
    [{ type: "http" }, "readiness of type http is given nothing"],
    [{ type: "file", path: "x", url: "http://x/" }, "readiness of type file is given path, url"],
  ])("that says %j is told how to write it", async (readiness, message) => {
    const { isError, texts } = await tool("start", { command: "serve", readiness });
    expect(isError).toBe(true);
    expect(texts[0]).toContain(message);
    expect(texts[0]).toMatch(/hint: write \{"type": /);
  });

  it("reads logs: our words alone, then a block for each stream, newest kept, with the call for more", async () => {
    await tool("start", { command: "serve" });
    supervisor().logs.set("web", { stdout: "one\ntwo\u001b[1m\n", stderr: "three\n", droppedBytes: 7 });
    const { texts, fields } = await tool("logs");
    expect(texts).toEqual([
      "service web is running\nstdout: 19 bytes, the last 12 of them below; the first 7 are not kept; " +
        "1 control characters and escape sequences were removed\nstderr: 6 bytes, all below\n" +
        'next: service_logs(workspace_id="fix-1", service_name="web", all=true, max_bytes=65536)',
      "one\ntwo\n",
      "three\n",
    ]);
    expect(fields).toMatchObject({
      stdout_bytes: 19,
      stdout_dropped_bytes: 7,
      truncated: true,
      tail_lines: 200,
    });
    supervisor().logs.set("web", { stdout: "x\n".repeat(20_000), stderr: "" });
    const long = await tool("logs", { all: true });
    expect(Buffer.byteLength(long.texts.join(""))).toBeLessThanOrEqual(10_000);
    expect(long.texts).toHaveLength(2);
    expect(long.texts[0]).toContain("stdout: 40000 bytes, the last 9198 of them below");
    expect((await tool("logs", { all: true, max_bytes: 65_536 })).texts[0]).not.toContain("next:");
  });

  it("lists and stops them", async () => {
    await tool("start", { command: "serve" });
    const { record } = await session.tool("service_list", { workspace_id: "fix-1" });
    expect(record).toMatchObject({ count: 1, running_count: 1, services: [{ service_name: "web" }] });
    const { record: status } = await session.tool("workspace_status", { workspace_id: "fix-1" });
    expect(status).toMatchObject({ service_count: 1, running_service_count: 1 });
    expect((await tool("stop")).record).toMatchObject({
      state: "stopped",
      signal: "SIGTERM",
      stop_reason: "requested",
    });
    const { record: summary } = await session.tool("workspace_summary", { workspace_id: "fix-1" });
    expect(summary).toMatchObject({ services: [{ service_name: "web", state: "stopped" }] });
    expect((await session.tool("service_stop", { ...web, service_name: "nobody" })).texts[0]).toMatch(
      /^SERVICE_NOT_FOUND: .*\nhint: the services that there are: web$/,
    );
  });
});

describe("A person", () => {
  it("starts, lists, reads and stops one", async () => {
    const { status, stdout } = await pyro("start", "fix-1", "web", "--env", "A=1", "--", "serve", "a b");
    expect([status, stdout]).toEqual([
      0,
      expect.stringMatching(/^service +web\nstate +running\ncommand +serve 'a b'\n/),
    ]);
    expect(supervisor().specs[0]?.env.map((pair) => Buffer.from(pair).toString())).toContain("A=1");
    expect((await pyro("list", "fix-1")).stdout).toMatch(/^NAME +STATE.*\nweb +running +\d+ /);
    supervisor().logs.set("web", { stdout: "out\n", stderr: "", droppedBytes: 3 });
    expect((await pyro("logs", "fix-1", "web")).stdout).toBe(
      "out\n[stdout: 4 of 7 bytes, the first 3 B are not kept]\n[stderr: nothing]\n",
    );
    expect(JSON.parse((await pyro("logs", "fix-1", "web", "--all", "--json")).stdout)).toMatchObject({
      ...{ stdout: "out\n", tail_lines: null, truncated: true },
    });
    expect((await pyro("stop", "fix-1", "web")).stdout).toMatch(/^state +stopped$/m);
    expect((await pyro("list", "fix-1")).stdout).toMatch(/^web +stopped +- /m);
    expect((await pyro("list", "nobody")).status).toBe(1);
  });

  it("gives one readiness, and a name that can be", async () => {
    const two = await pyro(
      "start",
      "fix-1",
      "web",
      "--ready-file",
      "a",
      "--ready-http",
      "http://x/",
      "--",
      "serve",
    );
    expect([two.status, two.stderr]).toEqual([1, expect.stringContaining("2 kinds of readiness are given")]);
    expect((await pyro("start", "fix-1", "-x", "--", "serve")).status).toBe(2);
    expect((await pyro("start", "fix-1", "a/b", "--", "serve")).stderr).toContain("service_name");
    expect((await pyro("list", "fix-1")).stdout).toContain("no service was started");
  });
});

describe("A program", () => {
  it("has the same by the SDK", async () => {
    await using client = new Pyro({ stateDir: served.stateDir });
    const options = { workspaceId: "fix-1", serviceName: "api", command: "serve" };
    const rows = [
      { type: "file", path: "ready" },
      { type: "tcp", address: ":80" },
      { type: "http", url: "http://localhost/" },
      { type: "command", command: "true" },
    ] as const;
    for (const [index, readiness] of rows.entries()) {
      const serviceName = `api-${index}`;
      const started = await client.startService({ ...options, serviceName, readiness, waitMs: 0 });
      expect(started).toMatchObject({
        serviceName,
        readiness,
        state: "starting",
        uptimeSeconds: expect.any(Number) as number,
      });
    }
    expect(await client.listServices("fix-1")).toHaveLength(4);
    expect(await client.statusService({ workspaceId: "fix-1", serviceName: "api-0" })).toMatchObject({
      pid: 101,
    });
    await expect(
      client.logsService({ workspaceId: "fix-1", serviceName: "api-0", tailLines: 0 }),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(client.startService({ ...options, argv: ["too"] })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(await client.stopService({ workspaceId: "fix-1", serviceName: "api-3" })).toMatchObject({
      ...{ state: "stopped", stopReason: "requested", endedAt: expect.any(String) as string },
    });
  });
});
