import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LIMITS, PyroError } from "../../../src/protocol/index.js";
import { exists } from "../../../src/kit/index.js";
import { hang } from "../../fakes/fake-process.js";
import { content, EXPORTED, NEVER, run, start, WorkspaceHost } from "../../fakes/workspace-host.js";

describe("a workspace's life", () => {
  let host: WorkspaceHost;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
  });
  afterEach(async () => {
    await host[Symbol.asyncDispose]();
  });

  const failAt = (
    step: string,
    error = new PyroError("DISK_FULL", "no room", { hint: "free some" }),
  ): void => {
    host.machines.before = (now) => {
      if (now === step) throw error;
    };
  };
  const stopped = async () => {
    const workspace = await host.create();
    await workspace.stop("user").result;
    return workspace;
  };

  it("is created with a machine, its seed and a sealed baseline, and holds daemon and image while it runs", async () => {
    const workspace = await host.create({ name: "fix-1", labels: { ticket: "42" } });
    expect(workspace.record).toMatchObject({
      name: "fix-1",
      labels: { ticket: "42" },
      state: "started",
      isolation: "software",
      imageDigest: "sha256:fake",
      machineId: host.machines.machine.id,
    });
    expect(workspace.operation).toMatchObject({ kind: "create", state: "done" });
    expect(host.machines.steps.filter((step) => ["make", "write", "seal"].includes(step))).toEqual([
      "make",
      "write",
      "seal",
    ]);
    expect([host.holds, host.machines.held.size]).toEqual([1, 1]);
    await host.workspaces.delete(workspace);
    expect([host.holds, host.machines.held.size, await host.left()]).toEqual([0, 0, []]);
  });

  it("says how far its creation is", async () => {
    let go: () => void = () => undefined;
    host.machines.before = (step) =>
      step === "make" ? new Promise<void>((resolve) => (go = resolve)) : undefined;
    const workspace = await host.begin();
    await vi.waitFor(() =>
      expect(workspace.operation).toMatchObject({
        kind: "create",
        state: "running",
        message: "a fake boots",
        progress: 0.5,
      }),
    );
    expect([workspace.record.state, workspace.isIdle]).toEqual(["creating", false]);
    await workspace.settle(1, NEVER);
    expect(workspace.operation?.state).toBe("running");
    go();
    await workspace.settle(10_000, NEVER);
    expect(workspace.record.state).toBe("started");
  });

  it.each(["make", "write", "seal"])(
    "that fails at %s stays as a failed one with the reason, without machine or layers",
    async (step) => {
      failAt(step);
      const workspace = await host.create();
      expect(workspace.record).toMatchObject({
        state: "failed",
        machineId: null,
        failure: { code: "DISK_FULL", message: "no room", hint: "free some" },
      });
      expect(host.machines.running.size).toBe(0);
      expect(await exists(workspace.paths.baseline)).toBe(false);
      expect(await exists(workspace.paths.active)).toBe(false);
      const failed = {
        code: "WORKSPACE_FAILED",
        message: expect.stringContaining("no room") as string,
        hint: "free some; then delete it and create it again",
      };
      await expect(workspace.machine(NEVER)).rejects.toMatchObject(failed);
      for (const operation of [workspace.start(), workspace.stop("user"), workspace.reset()])
        await expect(operation.result).rejects.toMatchObject(failed);
      await expect(workspace.work("export", () => Promise.resolve(EXPORTED)).result).rejects.toMatchObject(
        failed,
      );
      await host.workspaces.delete(workspace);
      expect(await host.left()).toEqual([]);
    },
  );

  it("whose machine is lost while it is seeded fails, and says so", async () => {
    host.machines.before = (step) => {
      if (step === "write") {
        host.machines.machine.lose();
        throw new PyroError("GUEST_DISCONNECTED", "gone");
      }
    };
    const workspace = await host.create();
    expect(workspace.record).toMatchObject({ state: "failed", failure: { code: "VM_CRASHED" } });
  });

  it.each(["make", "write", "seal"])(
    "deleted while its creation hangs at %s leaves nothing",
    async (step) => {
      const reached = vi.fn();
      host.machines.before = async (now, signal) => {
        if (now !== step) return;
        reached();
        await Promise.race([
          hang(signal),
          new Promise<void>((resolve) => workspace?.signal.addEventListener("abort", () => resolve())),
        ]);
      };
      let workspace: Awaited<ReturnType<typeof host.begin>> | undefined = undefined;
      const begun = await host.begin();
      workspace = begun;
      const waiting = begun.machine(NEVER);
      await vi.waitFor(() => expect(reached).toHaveBeenCalled());
      await Promise.all([
        host.workspaces.delete(begun),
        waiting.catch((error: unknown) => expect(error).toMatchObject({ code: "WORKSPACE_DELETED" })),
      ]);
      expect([host.machines.running.size, host.holds, await host.left()]).toEqual([0, 0, []]);
    },
  );

  it("stopped by the user refuses to be used, and is started again with what its disk holds", async () => {
    const workspace = await host.create();
    await run(workspace, "echo kept > file");
    await workspace.stop("user").result;
    expect(workspace.record).toMatchObject({ state: "stopped", stoppedBy: "user", machineId: null });
    expect([host.machines.running.size, host.holds]).toEqual([0, 0]);
    const refused = {
      code: "WORKSPACE_STOPPED",
      hint: `start it with \`pyro workspace start ${workspace.id}\``,
    };
    await expect(start(workspace, "true")).rejects.toMatchObject(refused);
    await expect(workspace.work("export", () => Promise.resolve(EXPORTED)).result).rejects.toMatchObject(
      refused,
    );
    expect(workspace.commands.all).toHaveLength(1);
    await workspace.start().result;
    expect(workspace.record).toMatchObject({ state: "started", stoppedBy: null, stoppedAtMs: null });
    expect(await content(workspace, "file")).toBe("kept\n");
  });

  it("started twice keeps its machine", async () => {
    const workspace = await host.create();
    const { id } = host.machines.machine;
    await workspace.start().result;
    expect(host.machines.machine.id).toBe(id);
  });

  it("that cannot be started stays stopped and says why", async () => {
    const workspace = await stopped();
    failAt("open");
    await expect(workspace.start().result).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(workspace.record.state).toBe("stopped");
    expect(workspace.operation).toMatchObject({
      kind: "start",
      state: "failed",
      error: { code: "DISK_FULL" },
    });
  });

  it("stopped under a command says so of the command, and not how it died", async () => {
    const workspace = await host.create();
    const command = await start(workspace, "sleep 100");
    await workspace.stop("user").result;
    await command.done;
    expect(command.facts.interrupted).toBe("the workspace was stopped");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(command.facts.exit).toBeUndefined();
  });

  it("past its TTL is stopped, and starts again by itself when it is used", async () => {
    const workspace = await host.create({ ttlSeconds: 60 });
    host.nowMs += 60_000;
    host.workspaces.reap();
    await workspace.settle(10_000, NEVER);
    expect(workspace.record.state).toBe("started");
    host.nowMs += 1;
    host.workspaces.reap();
    await workspace.settle(10_000, NEVER);
    expect(workspace.record).toMatchObject({ state: "stopped", stoppedBy: "ttl" });
    host.nowMs += 1000;
    expect(await run(workspace, "cat seeded")).toBe("as seeded\n");
    expect(workspace.record.state).toBe("started");
    expect(workspace.expiresAtMs).toBe(host.nowMs + 60_000);
  });

  it("is started by work in it, which does not wait for itself", async () => {
    const workspace = await host.create();
    await workspace.stop("ttl").result;
    const operation = workspace.work("export", ({ id }) => Promise.resolve({ ...EXPORTED, outputPath: id }));
    expect((await operation.result).outputPath).toBe(host.machines.machine.id);
  });

  it("tells what came of work until the next operation, of long lists the beginning", async () => {
    const workspace = await host.create();
    const paths = Array.from({ length: 150 }, (_, number) => ({
      path: `Makefile.${number}`,
      why: "make runs it",
    }));
    await workspace.work("export", () => Promise.resolve({ ...EXPORTED, hostExecutablePaths: paths })).result;
    expect(workspace.operation?.transferred).toEqual({
      kind: "export",
      result: {
        ...{ ...EXPORTED, hostExecutablePaths: paths.slice(0, LIMITS.keptExecutablePaths) },
        warnings: ["50 more paths that the host would run or obey are not listed here"],
      },
    });
    const pushed = {
      mode: "directory",
      destination: "/workspace",
      entryCount: 3,
      bytesWritten: 9,
      warnings: [],
    };
    await workspace.work("sync_push", () => Promise.resolve(pushed)).result;
    expect(workspace.operation?.transferred).toEqual({ kind: "sync_push", result: pushed });
    await workspace.stop("ttl").result;
    expect(workspace.operation?.transferred).toBeUndefined();
  });

  it("keeps the failure of work from whoever waits for its machine", async () => {
    const workspace = await host.create();
    await workspace.stop("ttl").result;
    let go: () => void = () => undefined;
    host.machines.before = (step) =>
      step === "open" ? new Promise<void>((resolve) => (go = resolve)) : undefined;
    const failing = workspace.work("export", () => {
      throw new PyroError("EXPORT_EXISTS", "it is there", { hint: "name another" });
    });
    const machine = workspace.machine(NEVER);
    await vi.waitFor(() => expect(host.machines.steps.at(-1)).toBe("open"));
    go();
    await expect(failing.result).rejects.toMatchObject({ code: "EXPORT_EXISTS" });
    expect((await machine).id).toBe(host.machines.machine.id);
  });

  it("is held beyond its TTL by a running command, whose end counts as activity", async () => {
    const workspace = await host.create({ ttlSeconds: 60 });
    const command = await start(workspace, "read line; exit 0", { openStdin: true });
    host.nowMs += 100_000;
    host.workspaces.reap();
    expect([workspace.record.state, workspace.isIdle]).toEqual(["started", false]);
    await command.live?.endInput();
    await command.done;
    await vi.waitFor(() => expect(workspace.expiresAtMs).toBe(host.nowMs + 60_000));
    host.workspaces.reap();
    expect(workspace.operation?.kind).toBe("create");
  });

  /** The one workspace is there for the whole retention, and not a millisecond longer. */
  async function expectDeletedAfterRetention(): Promise<void> {
    host.nowMs += LIMITS.workspaceRetentionMs;
    host.workspaces.reap();
    expect(host.workspaces.all).toHaveLength(1);
    host.nowMs += 1;
    host.workspaces.reap();
    await vi.waitFor(async () => expect(await host.left()).toEqual([]));
    expect(host.workspaces.all).toEqual([]);
  }

  it.each(["user", "ttl"] as const)("stopped (%s) for longer than the retention is deleted", async (by) => {
    const workspace = await host.create();
    await workspace.stop(by).result;
    await expectDeletedAfterRetention();
  });

  it("that could not be made says why for as long as the retention, and is deleted then", async () => {
    failAt("make");
    const workspace = await host.begin();
    await workspace.settle(10_000, NEVER);
    // Another daemon knows since when, too.
    await host.restart();
    expect(host.workspaces.all[0]?.record).toMatchObject({ state: "failed", failure: { code: "DISK_FULL" } });
    await expectDeletedAfterRetention();
  });

  it("takes a bounded number of operations: one too many is refused, and changes nothing", async () => {
    const workspace = await host.create();
    let go: () => void = () => undefined;
    const first = workspace.work("export", async () => {
      await new Promise<void>((resolve) => (go = resolve));
      return { ...EXPORTED, entryCount: 0 };
    });
    const waiting = Array.from({ length: LIMITS.workspaceOperationsWaiting }, (_, number) =>
      workspace.work("export", () => Promise.resolve({ ...EXPORTED, entryCount: number })),
    );
    await vi.waitFor(() => expect(workspace.operation).toMatchObject({ kind: "export", state: "running" }));
    await expect(workspace.reset().result).rejects.toMatchObject({
      ...{ code: "WORKSPACE_BUSY", retryable: true },
      message: `${LIMITS.workspaceOperationsWaiting} operations of workspace ${workspace.id} wait for their turn already`,
    });
    expect([workspace.isIdle, workspace.operation?.kind]).toEqual([false, "export"]);
    go();
    expect(await first.result).toMatchObject({ entryCount: 0 });
    const results = await Promise.all(waiting.map(({ result }) => result));
    expect(results.map(({ entryCount }) => entryCount)).toEqual(waiting.map((_, number) => number));
    await workspace.reset().result;
  });

  it("whose stop or removal fails is tried again", async () => {
    const workspace = await host.create({ ttlSeconds: 1 });
    failAt("shutDown");
    host.nowMs += 2000;
    host.workspaces.reap();
    await workspace.settle(10_000, NEVER);
    expect(workspace.operation).toMatchObject({ kind: "stop", state: "failed" });
    host.machines.machine.lose();
    host.machines.before = () => undefined;
    host.workspaces.reap();
    await workspace.settle(10_000, NEVER);
    expect(workspace.record.state).toBe("stopped");
  });

  it("whose machine is lost is stopped by a crash, names the failure, and starts again when it is used", async () => {
    const workspace = await host.create();
    await run(workspace, "echo kept > file");
    const command = await start(workspace, "sleep 100");
    host.machines.machine.lose();
    await command.done;
    expect(command.facts.interrupted).toBe("the fake crashed");
    await vi.waitFor(() =>
      expect(workspace.record).toMatchObject({
        state: "stopped",
        stoppedBy: "crash",
        failure: { code: "VM_CRASHED", message: "the fake crashed", hint: "it was told to" },
      }),
    );
    expect(host.holds).toBe(0);
    expect(await run(workspace, "cat file")).toBe("kept\n");
    expect(workspace.record).toMatchObject({ state: "started", failure: null });
  });
});
