import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { exists } from "../../../src/kit/index.js";
import { content, EXPORTED, NEVER, run, start, WorkspaceHost } from "../../fakes/workspace-host.js";

describe("a workspace", () => {
  let host: WorkspaceHost;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
  });
  afterEach(async () => {
    await host[Symbol.asyncDispose]();
  });
  const stopped = async () => {
    const workspace = await host.create();
    await workspace.stop("user").result;
    return workspace;
  };

  it("reset rebuilds it from the baseline, clears its history and keeps what it is", async () => {
    const workspace = await host.create({ name: "fix-1", labels: { a: "b" }, ttlSeconds: 77 });
    await run(workspace, "rm seeded; echo new > other");
    const running = await start(workspace, "sleep 100");
    await workspace.note({ kind: "file_write", path: "/workspace/x" });
    const { id } = host.machines.machine;
    host.nowMs += 5000;
    await workspace.reset().result;
    expect(running.facts.interrupted).toBe("the workspace was reset");
    expect(workspace.commands.all).toEqual([]);
    expect(await exists(workspace.paths.history)).toBe(false);
    expect(workspace.record).toMatchObject({
      ...{ name: "fix-1", labels: { a: "b" }, ttlSeconds: 77, state: "started", stoppedBy: null },
      reset: { count: 1, atMs: host.nowMs, snapshot: "baseline" },
      lastActivityAtMs: host.nowMs,
    });
    expect(host.machines.machine.id).not.toBe(id);
    expect(await run(workspace, "ls")).toBe("seeded\n");
    // Numbers are never used twice, so that nobody reads the output of another command.
    expect(workspace.commands.all[0]?.sequence).toBe(3);
  });

  it("reset starts also a stopped one", async () => {
    const workspace = await stopped();
    await workspace.reset().result;
    expect(workspace.record).toMatchObject({ state: "started", stoppedBy: null, stoppedAtMs: null });
  });

  it("deleted while a command runs ends it", async () => {
    const workspace = await host.create();
    const command = await start(workspace, "sleep 100");
    await Promise.all([host.workspaces.delete(workspace), host.workspaces.delete(workspace)]);
    expect(command.facts.interrupted).toBe("the workspace was deleted");
    expect([host.machines.running.size, await host.left()]).toEqual([0, []]);
    await expect(workspace.machine(NEVER)).rejects.toMatchObject({ code: "WORKSPACE_DELETED" });
    expect(() => host.workspaces.find(workspace.id)).toThrow(
      expect.objectContaining({ code: "WORKSPACE_NOT_FOUND" }),
    );
  });

  it("deleted during a reset, with more queued behind it, leaves nothing", async () => {
    const workspace = await host.create();
    let go: () => void = () => undefined;
    host.machines.before = (step) =>
      step === "renew" ? new Promise<void>((resolve) => (go = resolve)) : undefined;
    const reset = workspace.reset();
    const queued = workspace.stop("user");
    await vi.waitFor(() => expect(host.machines.steps.at(-1)).toBe("renew"));
    const deletion = host.workspaces.delete(workspace);
    await expect(queued.result).rejects.toMatchObject({ code: "WORKSPACE_DELETED" });
    go();
    await deletion;
    await expect(reset.result).rejects.toMatchObject({ code: "WORKSPACE_DELETED" });
    expect([host.machines.running.size, host.holds, await host.left()]).toEqual([0, 0, []]);
  });

  it("is listed by its last activity, which only some things move", async () => {
    const [first, second] = [await host.create({ name: "first" }), await host.create({ name: "second" })];
    host.nowMs += 1000;
    await first.update({ labels: { a: "1" } });
    expect(host.workspaces.all.map(({ record }) => record.name)).toEqual(["first", "second"]);
    host.nowMs += 1000;
    await run(second, "true");
    expect(host.workspaces.all.map(({ record }) => record.name)).toEqual(["second", "first"]);
    host.nowMs += 1000;
    const before = second.record.lastActivityAtMs;
    await content(second, "seeded");
    await second.work("export", async () => {
      await second.note({ kind: "export", path: "x" });
      return EXPORTED;
    }).result;
    expect(second.record.lastActivityAtMs).toBe(before);
  });

  it("is found by id, prefix of an id, or name; what fits several says which", async () => {
    const a = await host.create({ name: "same" });
    const b = await host.create({ name: "same" });
    expect(host.workspaces.find(a.id)).toBe(a);
    expect(host.workspaces.find(b.id.slice(0, 15))).toBe(b);
    expect(() => host.workspaces.find("same")).toThrow(
      expect.objectContaining({ code: "AMBIGUOUS_REFERENCE" }),
    );
  });

  it("that is left while it waits for a machine leaves the start to go on", async () => {
    const workspace = await host.create();
    await workspace.stop("ttl").result;
    let go: () => void = () => undefined;
    host.machines.before = (step) =>
      step === "open" ? new Promise<void>((resolve) => (go = resolve)) : undefined;
    const abort = new AbortController();
    const waiting = workspace.machine(abort.signal);
    await vi.waitFor(() => expect(host.machines.steps.at(-1)).toBe("open"));
    abort.abort(new PyroError("CANCELLED", "left"));
    await expect(waiting).rejects.toMatchObject({ code: "CANCELLED" });
    go();
    await workspace.settle(10_000, NEVER);
    expect(workspace.record.state).toBe("started");
  });

  it("leaves what is not a workspace alone, and removes what was half removed", async () => {
    await host.create({ name: "real" });
    await mkdir(join(host.directory, "ws-0000000000000000.deleted/commands"), { recursive: true });
    await mkdir(join(host.directory, "somebody-elses"));
    await writeFile(join(host.directory, "a-file"), "mine");
    await mkdir(join(host.directory, "ws-torn"));
    await writeFile(join(host.directory, "ws-torn/workspace.json"), '{"format":1,"wor');
    await mkdir(join(host.directory, "ws-newer"));
    await writeFile(join(host.directory, "ws-newer/workspace.json"), '{"format":2}');
    await host.restart();
    expect(host.workspaces.all.map(({ record }) => record.name)).toEqual(["real"]);
    expect(await host.left()).toEqual(
      expect.arrayContaining(["a-file", "somebody-elses", "ws-newer", "ws-torn"]),
    );
    expect(await host.left()).toHaveLength(5);
  });
});
