import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import {
  startCommand,
  startService,
  type Workspace,
  type WorkspaceCommand,
} from "../../../src/workspace/index.js";
import { NEVER, WorkspaceHost } from "../../fakes/workspace-host.js";

/** A shell line that runs in it. */
async function runningIn(workspace: Workspace, command: string): Promise<WorkspaceCommand> {
  const request = { command, argv: [], env: [], cwd: "", timeoutMs: undefined, openStdin: false };
  return await startCommand(workspace, request, { signal: NEVER });
}

describe("a workspace that is suspended", () => {
  it("has no machine and its commands are not over; it goes on when it is used, unless its user suspended it", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    const { machines } = host;
    const command = await runningIn(workspace, "echo one; sleep 0.5; echo two");
    await workspace.suspend("idle").result;
    expect(workspace.record).toMatchObject({ state: "suspended", stoppedBy: "idle", machineId: null });
    expect([workspace.runningMachine, command.isRunning, workspace.isIdle]).toEqual([undefined, true, true]);
    expect(machines.running.size).toBe(0);
    await workspace.machine(NEVER);
    expect(workspace.record).toMatchObject({ state: "started", stoppedBy: null });
    await command.done;
    expect(command.facts.exit).toMatchObject({ exitCode: 0 });
    const { window } = await command.output.view(0, 100);
    expect(Buffer.from(window.head).toString()).toBe("one\ntwo\n");
    await workspace.suspend("user").result;
    await expect(workspace.machine(NEVER)).rejects.toMatchObject({ code: "WORKSPACE_STOPPED" });
    await workspace.start().result;
    expect((await readdir(workspace.paths.directory)).filter((name) => name.startsWith("memory"))).toEqual(
      [],
    );
  });

  it("keeps its services as they were, asks nobody for them meanwhile, and follows them when it goes on", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    const { supervisor } = host.machines.machine;
    const request = { name: "web", command: "serve", argv: [], env: [], cwd: "", readiness: undefined };
    await startService(workspace, request, { waitMs: 0, signal: NEVER });
    await workspace.suspend("user").result;
    expect(workspace.services.alive.map(({ name }) => name)).toEqual(["web"]);
    supervisor.change("web", { state: "exited", exitCode: 3 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(workspace.services.find("web").state).toBe("running");
    await workspace.start().result;
    await vi.waitFor(() =>
      expect(workspace.services.find("web")).toMatchObject({ state: "exited", exitCode: 3 }),
    );
  });

  it("runs on where it cannot be saved", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    host.machines.before = (step) => {
      if (step === "suspend") throw new PyroError("DISK_FULL", "the disk is full", { hint: "free some" });
    };
    await expect(workspace.suspend("user").result).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(workspace.record.state).toBe("started");
    expect(workspace.runningMachine).toBeDefined();
    expect(await readdir(workspace.paths.directory)).not.toContain("memory");
  });

  it("stays suspended where no machine could go on, and is stopped, its commands lost, where one had begun to", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    const { machines } = host;
    const command = await runningIn(workspace, "sleep 60");
    await workspace.suspend("user").result;
    const full = new PyroError("MEMORY_FULL", "no memory", { hint: "free some" });
    machines.before = (step) => {
      if (step === "resume") throw full;
    };
    await expect(workspace.start().result).rejects.toMatchObject({ code: "MEMORY_FULL" });
    expect(workspace.record.state).toBe("suspended");
    machines.before = (step) => {
      if (step === "run") throw new PyroError("VM_CRASHED", "it died", { hint: "again" });
    };
    await expect(workspace.start().result).rejects.toMatchObject({ code: "VM_CRASHED" });
    expect(workspace.record).toMatchObject({
      state: "stopped",
      stoppedBy: "crash",
      failure: { code: "VM_CRASHED" },
    });
    expect(command.facts.interrupted).toBe("it died");
    machines.before = () => undefined;
    await workspace.machine(NEVER);
  });

  it("does not go on over a disk that was damaged meanwhile, and keeps its memory for one that is whole", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    await workspace.suspend("user").result;
    const whole = await readFile(workspace.paths.active);
    await writeFile(workspace.paths.active, "garbage");
    await expect(workspace.start().result).rejects.toMatchObject({ code: "DISK_DAMAGED" });
    expect(workspace.record).toMatchObject({ state: "suspended", failure: { code: "DISK_DAMAGED" } });
    await writeFile(workspace.paths.active, whole);
    await workspace.start().result;
    expect(workspace.record).toMatchObject({ state: "started", failure: null });
  });

  it("gives its memory up for a stop and for a reset", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    for (const end of [() => workspace.stop("user"), () => workspace.reset("baseline")]) {
      await workspace.suspend("user").result;
      await end().result;
      expect(await readdir(workspace.paths.directory)).not.toContain("memory");
      await workspace.start().result;
    }
    await workspace.stop("user").result;
    await expect(workspace.suspend("user").result).rejects.toMatchObject({ code: "WORKSPACE_STOPPED" });
  });

  it("says so when its memory is gone", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    await workspace.suspend("idle").result;
    await rm(join(workspace.paths.directory, "memory"), { recursive: true });
    await expect(workspace.start().result).rejects.toThrow();
    expect(workspace.record).toMatchObject({ state: "stopped", stoppedBy: "crash" });
  });

  it("is one that nobody used for so long, where the configuration says so", async () => {
    await using host = await WorkspaceHost.start();
    host.idleSuspendMs = 5_000;
    await host.restart();
    const workspace = await host.create();
    host.workspaces.reap();
    await workspace.settle(5_000, NEVER);
    expect(workspace.record.state).toBe("started");
    host.nowMs += 6_000;
    host.workspaces.reap();
    await workspace.settle(5_000, NEVER);
    expect(workspace.record).toMatchObject({ state: "suspended", stoppedBy: "idle" });
  });
});

describe("a workspace whose live command holds a secret", () => {
  const TOKEN = { name: "TOKEN", sourceKind: "value", value: Buffer.from("hunter2hunter2") } as const;
  const holding = async (workspace: Workspace): Promise<WorkspaceCommand> => {
    const request = {
      command: "sleep 60",
      argv: [],
      env: [],
      cwd: "",
      timeoutMs: undefined,
      openStdin: false,
    };
    return await startCommand(workspace, { ...request, secretEnv: { TOKEN: "" } }, { signal: NEVER });
  };

  it("keeps its memory off the disk unless that is allowed, and says then what is in it", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create({ secrets: [TOKEN] });
    await holding(workspace);
    await expect(workspace.suspend("user").result).rejects.toMatchObject({ code: "SECRET_IN_MEMORY" });
    expect(workspace.record).toMatchObject({ state: "started", secretsInMemory: [] });
    await workspace.suspend("user", true).result;
    expect(workspace.record).toMatchObject({ state: "suspended", secretsInMemory: ["TOKEN"] });
    await workspace.start().result;
    expect(workspace.record).toMatchObject({ state: "started", secretsInMemory: [] });
    expect(workspace.secrets.holders).toMatchObject([{ kind: "command", secrets: ["TOKEN"] }]);
  });

  it("is not forked unless that is allowed; its children have its secrets, and keep them to themselves", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create({ secrets: [TOKEN] });
    await holding(workspace);
    const fork = (allowSecrets: boolean): Promise<readonly Workspace[]> =>
      host.workspaces.fork(workspace, { count: 1, namePrefix: null, allowSecrets }, NEVER);
    await expect(fork(false)).rejects.toMatchObject({ code: "SECRET_IN_MEMORY" });
    const [child] = await fork(true);
    await child?.settle(5_000, NEVER);
    expect(child?.record).toMatchObject({ state: "started", secretsInMemory: ["TOKEN"] });
    expect(child?.secrets.all).toEqual([TOKEN]);
    expect((await stat(child?.paths.secrets ?? "")).mode & 0o777).toBe(0o600);
  });
});

describe("a workspace that is forked", () => {
  it("has children of its shape over its layers, each with an outcome of its own", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    const { workspaces, machines } = host;
    let branched = 0;
    machines.before = (step) => {
      if (step !== "branch") return;
      branched += 1;
      if (branched === 2) throw new PyroError("MEMORY_FULL", "no memory", { hint: "free some" });
    };
    const children = await workspaces.fork(workspace, { count: 3, namePrefix: "child" }, NEVER);
    await Promise.all(children.map((child) => child.settle(5_000, NEVER)));
    expect(children.map(({ record }) => [record.name, record.sourceWorkspaceId])).toEqual(
      ["child-1", "child-2", "child-3"].map((name) => [name, workspace.id]),
    );
    expect(children.map(({ record }) => record.state).sort()).toEqual(["failed", "started", "started"]);
    expect(children.find(({ record }) => record.state === "failed")?.record.failure?.code).toBe(
      "MEMORY_FULL",
    );
    expect(workspace.record).toMatchObject({ state: "started", snapshots: [] });
    expect(workspace.record.layers).toHaveLength(1);
    expect(machines.steps.filter((step) => step === "let go of what was captured")).toHaveLength(1);
    await Promise.all(children.map((child) => workspaces.delete(child)));
    await workspace.machine(NEVER);
  });

  it("has none where it cannot be captured, where it is stopped, and where there are to be none or too many", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    const { workspaces, machines } = host;
    const fork = (count: number): Promise<unknown> =>
      workspaces.fork(workspace, { count, namePrefix: null }, NEVER);
    await expect(fork(0)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(fork(17)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    machines.before = (step) => {
      if (step === "capture") throw new PyroError("DISK_FULL", "the disk is full", { hint: "free some" });
    };
    await expect(fork(1)).rejects.toMatchObject({ code: "DISK_FULL" });
    machines.before = () => undefined;
    expect(workspace.record).toMatchObject({ state: "started", layers: [], sealing: null });
    await workspace.stop("user").result;
    await expect(fork(1)).rejects.toMatchObject({ code: "WORKSPACE_STOPPED" });
    expect(workspaces.all).toHaveLength(1);
    expect(await readdir(join(workspace.paths.directory, ".."))).toEqual([workspace.id]);
  });
});
