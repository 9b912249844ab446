/** What a workspace knows of its services, over machines whose supervisor does what a test says. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  listServices,
  serviceLogs,
  serviceStatus,
  startService,
  stopService,
  type ServiceRequest,
  type Workspace,
} from "../../../src/workspace/index.js";
import type { FakeSupervisor } from "../../fakes/fake-supervisor.js";
import { NEVER, WorkspaceHost } from "../../fakes/workspace-host.js";

let host: WorkspaceHost;
let workspace: Workspace;
beforeEach(async () => {
  host = await WorkspaceHost.start();
  workspace = await host.create();
});
afterEach(() => host[Symbol.asyncDispose]());

const FILE = { type: "file", value: "ready", timeoutMs: 0, intervalMs: 0 } as const;

function start(name: string, more: Partial<ServiceRequest> = {}, waitMs = 5_000, of = workspace) {
  const request = { name, argv: [], command: "serve", env: [], cwd: "", readiness: undefined, ...more };
  return startService(of, request, { waitMs, signal: NEVER });
}

function supervisor(): FakeSupervisor {
  return host.machines.machine.supervisor;
}

const status = (name: string, of = workspace) => serviceStatus(of, name, { waitMs: 0, signal: NEVER });

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** An end by itself. */
const EXITED = { state: "exited", end: "exited", exitCode: 0, pid: undefined } as const;

describe("A service", () => {
  it("runs at once where nothing says by what it is ready", async () => {
    expect(await start("web")).toMatchObject({
      name: "web",
      state: "running",
      command: "serve",
      cwd: "/workspace",
    });
    expect(workspace.services.alive).toHaveLength(1);
    const [spec] = supervisor().specs;
    expect(spec?.argv.map((word) => Buffer.from(word).toString())).toEqual(["/bin/sh", "-lc", "serve"]);
    expect(spec?.env.map((pair) => Buffer.from(pair).toString())).toContain("HOME=/root");
  });

  it("is waited for until it is ready", async () => {
    const waiting = start("web", { readiness: FILE });
    await until(() => supervisor().services.has("web"));
    supervisor().change("web", { state: "running", readyAtMs: Date.now() });
    expect(await waiting).toMatchObject({
      state: "running",
      readiness: { ...FILE, timeoutMs: 30_000, intervalMs: 500 },
    });
  });

  it("goes on where nobody waits that long, and can be waited for again", async () => {
    expect(await start("web", { readiness: FILE }, 0)).toMatchObject({ state: "starting" });
    const later = serviceStatus(workspace, "web", { waitMs: 5_000, signal: NEVER });
    supervisor().change("web", { state: "running" });
    expect(await later).toMatchObject({ state: "running" });
  });

  it("that fails is an error with its reason and the end of what it wrote, without what drives a terminal", async () => {
    const failing = start("web", { readiness: FILE });
    await until(() => supervisor().services.has("web"));
    supervisor().logs.set("web", { stdout: "", stderr: "\u001b[31mAddress in use\u001b[0m\n" });
    const failure = "it ended with exit code 98 before it was ready";
    supervisor().change("web", { state: "failed", end: "exited_before_ready", exitCode: 98, failure });
    await expect(failing).rejects.toMatchObject({
      code: "SERVICE_FAILED",
      message: `service web failed: ${failure}. What it wrote last:\n[31mAddress in use[0m`,
      hint: `\`pyro workspace service logs ${workspace.id} web\` shows all of it; the name is free for another start`,
      details: { service_name: "web", exit_code: 98, signal: null },
    });
    expect(await status("web")).toMatchObject({ state: "failed", stopReason: "exited_before_ready" });
  });

  it("holds the workspace beyond its TTL; from its end on the TTL counts anew", async () => {
    await start("web");
    host.nowMs += 10_000_000;
    host.workspaces.reap();
    expect([workspace.isIdle, workspace.record.state]).toEqual([false, "started"]);
    supervisor().change("web", EXITED);
    await until(() => workspace.isIdle);
    await until(() => workspace.record.lastActivityAtMs === host.nowMs);
    host.nowMs += 10_000_000;
    host.workspaces.reap();
    await until(() => workspace.record.state === "stopped");
  });

  it("has a name that no other living one has, and that a path cannot be", async () => {
    await start("web");
    await expect(start("web")).rejects.toMatchObject({ code: "SERVICE_EXISTS" });
    supervisor().change("web", EXITED);
    expect(await start("web")).toMatchObject({ state: "running" });
    for (const name of ["", "../x", "-x", "a b", "x".repeat(65)])
      await expect(start(name)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(status("nobody")).rejects.toMatchObject({
      code: "SERVICE_NOT_FOUND",
      hint: "the services that there are: web",
    });
  });

  it("that a look missed because it was just started is not taken for lost", async () => {
    const { services } = workspace;
    const { services: machine } = await workspace.machine(NEVER);
    const slow = { ...machine };
    let answer: () => void = () => undefined;
    slow.list = async (options) => {
      const list = await machine.list(options);
      await new Promise<void>((resolve) => (answer = resolve));
      return list;
    };
    const refreshing = services.refresh(slow);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await start("web");
    answer();
    await refreshing;
    expect(services.find("web")).toMatchObject({ state: "running" });
  });

  it("whose machine was reset while it was started is not kept", async () => {
    const { services: machine } = await workspace.machine(NEVER);
    const started = await start("web");
    await workspace.reset().result;
    workspace.services.take(machine, { ...started, end: undefined } as never);
    expect([workspace.services.all, workspace.isIdle]).toEqual([[], true]);
  });

  it("is stopped once; an answer that was overtaken changes nothing", async () => {
    const started = await start("web");
    expect(await stopService(workspace, "web", NEVER)).toMatchObject({
      state: "stopped",
      stopReason: "requested",
    });
    expect(await stopService(workspace, "web", NEVER)).toMatchObject({ state: "stopped" });
    const { services: machine } = await workspace.machine(NEVER);
    workspace.services.take(machine, { ...started, state: "running", end: undefined } as never);
    expect(workspace.services.find("web").state).toBe("stopped");
  });
});

describe("Logs", () => {
  it("are the last lines of each stream, with what is above and what is gone", async () => {
    await start("web");
    supervisor().logs.set("web", { stdout: "a\nb\nc\n", stderr: "no newline", droppedBytes: 100 });
    const read = (tailLines?: number) => serviceLogs(workspace, "web", { tailLines, signal: NEVER });
    const two = await read(2);
    expect(Buffer.from(two.stdout.data).toString()).toBe("b\nc\n");
    expect(two.stdout).toMatchObject({ totalBytes: 106, droppedBytes: 100, aboveBytes: 2 });
    expect(Buffer.from(two.stderr.data).toString()).toBe("no newline");
    expect(Buffer.from((await read()).stdout.data).toString()).toBe("a\nb\nc\n");
    expect(Buffer.from((await read(1)).stdout.data).toString()).toBe("c\n");
  });

  it("go with the machine", async () => {
    await start("web");
    await workspace.stop("user").result;
    await expect(serviceLogs(workspace, "web", { tailLines: 1, signal: NEVER })).rejects.toMatchObject({
      code: "SERVICE_NOT_FOUND",
      hint: "it is stopped (workspace_stopped): start it again",
    });
  });
});

describe("What is known", () => {
  it("outlives the daemon, and the machine tells the next one what happened meanwhile", async () => {
    await start("web");
    await start("done");
    await host.crash();
    supervisor().change("done", EXITED);
    const [next] = host.workspaces.all;
    if (next === undefined) throw new Error("no workspace");
    expect(next.services.alive.map(({ name }) => name)).toContain("web");
    await until(() => next.services.alive.length === 1);
    expect(await status("done", next)).toMatchObject({ state: "exited", exitCode: 0 });
    expect(await status("web", next)).toMatchObject({ state: "running" });
  });

  it("says how the machine's end ended them", async () => {
    await start("web");
    await workspace.stop("ttl").result;
    expect(await status("web")).toMatchObject({
      state: "stopped",
      stopReason: "workspace_expired",
      endedAtMs: host.nowMs,
    });
    await workspace.start().result;
    expect(await listServices(workspace, NEVER)).toMatchObject([
      { state: "stopped", stopReason: "workspace_expired" },
    ]);
    await start("api");
    host.machines.machine.lose();
    await until(() => workspace.services.alive.length === 0);
    expect(workspace.services.find("api")).toMatchObject({ state: "stopped", stopReason: "machine_lost" });
  });

  it("a machine that does not know a service any more has lost it", async () => {
    await start("web");
    supervisor().forget();
    await until(() => workspace.services.alive.length === 0);
    expect(workspace.services.find("web")).toMatchObject({ stopReason: "machine_lost" });
  });

  it("is nothing after a reset, and gone with the workspace", async () => {
    await start("web");
    await workspace.reset().result;
    expect(await listServices(workspace, NEVER)).toEqual([]);
    await start("web");
    await host.workspaces.delete(workspace);
    expect(await host.left()).toEqual([]);
  });

  it("a wait that the machine's end cuts short says so", async () => {
    const waiting = start("web", { readiness: FILE });
    await until(() => supervisor().services.has("web"));
    host.machines.machine.lose();
    expect(await waiting).toMatchObject({ state: "stopped", stopReason: "machine_lost" });
  });
});

describe("Readiness", () => {
  it.each([
    ["tcp", "8000"],
    ["tcp", "localhost:0"],
    ["tcp", "localhost:70000"],
    ["tcp", "a b:1"],
    ["http", "https://localhost/"],
    ["http", "http://u:p@localhost/"],
    ["http", "ftp://localhost/"],
    ["http", "/health"],
    ["file", ""],
    ["command", "a\0b"],
  ] as const)("by %s cannot be %j", async (type, value) => {
    const readiness = { type, value, timeoutMs: 0, intervalMs: 0 };
    await expect(start("web", { readiness })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(supervisor().specs).toEqual([]);
  });

  it.each([
    ["tcp", ":8000"],
    ["tcp", "[::1]:80"],
    ["http", "http://localhost:8000/health?x=1"],
  ] as const)("by %s may be %j", async (type, value) => {
    const readiness = { type, value, timeoutMs: 1_000, intervalMs: 50 };
    expect(await start("web", { readiness }, 0)).toMatchObject({ state: "starting", readiness });
  });

  it.each([
    [3_600_001, 500],
    [1_000, 5],
    [1_000, 60_001],
  ])("has bounds: %d and %d ms are not within them", async (timeoutMs, intervalMs) => {
    await expect(start("web", { readiness: { ...FILE, timeoutMs, intervalMs } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});
