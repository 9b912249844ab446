import { readdir } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import {
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
  type Workspace,
} from "../../../src/workspace/index.js";
import { content, run, WorkspaceHost } from "../../fakes/workspace-host.js";

let host: WorkspaceHost;
beforeEach(async () => {
  host = await WorkspaceHost.start();
});
afterEach(async () => {
  await host[Symbol.asyncDispose]();
});

const write = (workspace: Workspace, text: string): Promise<string> =>
  run(workspace, `printf %s ${text} > state`);
const memories = (workspace: Workspace): Promise<string[]> =>
  readdir(workspace.paths.snapshots).catch(() => []);
/** One that wrote "a", was taken with its memory as "a", and then wrote "b". */
async function withMemory(): Promise<Workspace> {
  const workspace = await host.create();
  await write(workspace, "a");
  await createSnapshot(workspace, "a", { memory: true }).result;
  await write(workspace, "b");
  return workspace;
}

describe("a snapshot with memory", () => {
  it("is gone back to by going on from it, as often as wanted, and none boots", async () => {
    const workspace = await withMemory();
    expect(await listSnapshots(workspace)).toMatchObject([
      { name: "baseline", memory: false },
      { name: "a", memory: true, secretsInMemory: [], deletable: true },
    ]);
    for (const count of [1, 2]) {
      await workspace.reset("a").result;
      expect(await content(workspace, "state")).toBe("a");
      expect(workspace.record).toMatchObject({ state: "started", reset: { count, snapshot: "a" } });
      await write(workspace, "broken");
    }
    expect(host.machines.steps.filter((step) => step === "resume" || step === "open")).toEqual([
      "resume",
      "resume",
    ]);
    await workspace.reset().result;
    await expect(content(workspace, "state")).rejects.toMatchObject({ code: "GUEST_FILE_NOT_FOUND" });
  });

  it("leaves the machine running, and adds one layer that has no other name", async () => {
    const workspace = await host.create();
    const machine = workspace.runningMachine;
    await createSnapshot(workspace, "a", { memory: true }).result;
    expect(workspace.runningMachine).toBe(machine);
    expect(workspace.record.layers).toHaveLength(1);
    expect(workspace.record.snapshots.map(({ name }) => name)).toEqual(["a"]);
  });

  it("takes its memory along when it is deleted, and not before", async () => {
    const workspace = await withMemory();
    await createSnapshot(workspace, "disk").result;
    await deleteSnapshot(workspace, "disk").result;
    expect(await memories(workspace)).toHaveLength(1);
    await deleteSnapshot(workspace, "a").result;
    expect(await memories(workspace)).toEqual([]);
  });

  it("cannot be of a workspace that does not run", async () => {
    const workspace = await host.create();
    await workspace.stop("user").result;
    await expect(createSnapshot(workspace, "a", { memory: true }).result).rejects.toMatchObject({
      code: "WORKSPACE_STOPPED",
      hint: expect.stringContaining("workspace start") as string,
    });
  });

  it.each(["capture", "store"])(
    "leaves nothing when %s fails, and the workspace runs on",
    async (failing) => {
      const workspace = await host.create();
      await write(workspace, "kept");
      host.machines.before = (step) => {
        if (step === failing) throw new PyroError("DISK_FULL", "it is full", { hint: "free some" });
      };
      await expect(createSnapshot(workspace, "a", { memory: true }).result).rejects.toMatchObject({
        code: "DISK_FULL",
      });
      host.machines.before = () => undefined;
      expect(workspace.record.snapshots).toEqual([]);
      expect(await memories(workspace)).toEqual([]);
      expect(await content(workspace, "state")).toBe("kept");
      await createSnapshot(workspace, "a", { memory: true }).result;
    },
  );

  it("is finished by the next daemon where a reset to it was cut off, and goes on when it is used", async () => {
    const { id } = await withMemory();
    host.machines.before = (step) => {
      if (step === "resume") throw new PyroError("MEMORY_FULL", "no memory", { hint: "free some" });
    };
    await expect(host.workspaces.find(id).reset("a").result).rejects.toMatchObject({ code: "MEMORY_FULL" });
    host.machines.before = () => undefined;
    expect(host.workspaces.find(id).record).toMatchObject({ state: "suspended", stoppedBy: "reset" });
    await host.restart();
    expect(await content(host.workspaces.find(id), "state")).toBe("a");
    expect(host.machines.steps).toContain("resume");
    expect(host.machines.steps).not.toContain("open");
  });
});
