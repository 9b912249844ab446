import { link, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LIMITS, PyroError } from "../../../src/protocol/index.js";
import {
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
  type Workspace,
} from "../../../src/workspace/index.js";
import { hang } from "../../fakes/fake-process.js";
import { content, run, WorkspaceHost } from "../../fakes/workspace-host.js";

let host: WorkspaceHost;
beforeEach(async () => {
  host = await WorkspaceHost.start();
});
afterEach(async () => {
  await host[Symbol.asyncDispose]();
});

const again = (id: string): Workspace => host.workspaces.find(id);
const write = (workspace: Workspace, text: string): Promise<string> =>
  run(workspace, `printf %s ${text} > state`);
const state = (workspace: Workspace): Promise<string> => content(workspace, "state");
const names = async (workspace: Workspace): Promise<string[]> =>
  (await listSnapshots(workspace)).map(({ name }) => name);
/** Files of sealed layers. */
const layers = async ({ paths }: Workspace): Promise<number> =>
  (await readdir(paths.layers).catch(() => [])).length;
/** A workspace with snapshots "a" and "b", of states of these names, and a state "c" on top. */
async function withTwo(): Promise<Workspace> {
  const workspace = await host.create();
  for (const name of ["a", "b"]) {
    await write(workspace, name);
    await createSnapshot(workspace, name).result;
  }
  await write(workspace, "c");
  return workspace;
}

describe("a snapshot", () => {
  it("is the disk as it was, and any of them can be gone back to, in any order", async () => {
    const workspace = await withTwo();
    expect(await state(workspace)).toBe("c");
    for (const name of ["a", "b", "a"]) {
      await workspace.reset(name).result;
      expect([await state(workspace), workspace.record.reset.snapshot]).toEqual([name, name]);
      await write(workspace, "broken");
    }
    await workspace.reset().result;
    expect(await content(workspace, "seeded")).toBe("as seeded\n");
    await expect(state(workspace)).rejects.toMatchObject({ code: "GUEST_FILE_NOT_FOUND" });
    expect(await names(workspace)).toEqual(["baseline", "a", "b"]);
    await workspace.reset("b").result;
    expect(await state(workspace)).toBe("b");
  });

  it("leaves the machine and what runs in it alone", async () => {
    const workspace = await host.create();
    const machine = workspace.runningMachine;
    await createSnapshot(workspace, "a").result;
    expect(workspace.runningMachine).toBe(machine);
    expect(host.machines.steps).not.toContain("open");
  });

  it("of a stopped workspace takes no machine, and leaves it stopped", async () => {
    const workspace = await host.create();
    await write(workspace, "a");
    await workspace.stop("user").result;
    const steps = host.machines.steps.length;
    await createSnapshot(workspace, "a").result;
    expect(host.machines.steps.slice(steps)).toEqual(["renew"]);
    expect(workspace.record).toMatchObject({ state: "stopped", stoppedBy: "user" });
    await workspace.start().result;
    await write(workspace, "b");
    await workspace.reset("a").result;
    expect(await state(workspace)).toBe("a");
  });

  it("survives stop, start, reset and the daemon's death; the diff is against the baseline all the time", async () => {
    const { id } = await withTwo();
    await again(id).stop("user").result;
    await again(id).start().result;
    await host.crash();
    await host.restart();
    expect([await names(again(id)), await state(again(id))]).toEqual([["baseline", "a", "b"], "c"]);
    await again(id).reset("a").result;
    await host.restart();
    expect([await names(again(id)), await state(again(id))]).toEqual([["baseline", "a", "b"], "a"]);
    const { changes } = (await again(id).runningMachine?.files.changes(Buffer.from(""))) ?? {};
    expect(changes).toHaveLength(1);
  });

  it("is listed with the baseline, what it takes, and whether it can be deleted", async () => {
    const workspace = await host.create();
    host.nowMs += 5000;
    await createSnapshot(workspace, "a").result;
    expect(workspace.record.lastActivityAtMs).toBe(host.nowMs);
    const diskOnly = { memory: false, secretsInMemory: [] };
    expect(await listSnapshots(workspace)).toEqual([
      {
        ...diskOnly,
        ...{ name: "baseline", createdAtMs: workspace.record.createdAtMs, deletable: false },
        bytes: expect.any(Number) as number,
      },
      {
        ...diskOnly,
        ...{ name: "a", createdAtMs: host.nowMs, deletable: true },
        bytes: expect.any(Number) as number,
      },
    ]);
  });

  it("of a machine that is lost meanwhile says so, whatever file of it is missing then", async () => {
    const workspace = await host.create();
    host.machines.before = (step) => {
      if (step !== "put") return;
      host.machines.machine.lose();
      throw Object.assign(new Error("no such file"), { code: "ENOENT" });
    };
    await expect(createSnapshot(workspace, "a").result).rejects.toMatchObject({ code: "VM_CRASHED" });
  });

  it("has a name of its own, and is none where something else failed", async () => {
    const workspace = await host.create();
    await createSnapshot(workspace, "a").result;
    for (const name of ["a", "baseline"]) {
      await expect(createSnapshot(workspace, name).result).rejects.toMatchObject({ code: "SNAPSHOT_EXISTS" });
    }
    await expect(workspace.reset("b").result).rejects.toMatchObject({
      code: "SNAPSHOT_NOT_FOUND",
      hint: "the snapshots that it has: baseline, a",
    });
    expect([workspace.record.state, await layers(workspace)]).toEqual(["started", 1]);
    await expect(deleteSnapshot(workspace, "b").result).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
    await expect(deleteSnapshot(workspace, "baseline").result).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("is one of so many, and one of so many layers", async () => {
    const workspace = await host.create();
    await createSnapshot(workspace, "a").result;
    const [one] = workspace.record.snapshots;
    const many = Array.from({ length: LIMITS.workspaceSnapshots }, (_, index) => ({
      ...one,
      name: `s${index}`,
    }));
    const save = (change: object) => workspace.change("snapshot", ({ save }) => save(change)).result;
    await save({ snapshots: many });
    await expect(createSnapshot(workspace, "b").result).rejects.toMatchObject({ code: "SNAPSHOT_LIMIT" });
    const kept = workspace.record.layers;
    await save({ snapshots: [], layers: Array.from({ length: LIMITS.workspaceLayers }, () => kept[0]) });
    await expect(createSnapshot(workspace, "b").result).rejects.toMatchObject({ code: "SNAPSHOT_LIMIT" });
    await save({ layers: kept });
  });

  it("of a failed workspace cannot be taken", async () => {
    host.machines.before = () => {
      throw new PyroError("DISK_FULL", "no room", { hint: "free some" });
    };
    const workspace = await host.create();
    host.machines.before = () => undefined;
    await expect(createSnapshot(workspace, "a").result).rejects.toMatchObject({ code: "WORKSPACE_FAILED" });
    expect(await listSnapshots(workspace)).toEqual([]);
  });
});

describe("a deleted snapshot", () => {
  it("is only a name where the chain needs its layer, and takes the layer along where nothing does", async () => {
    const workspace = await withTwo();
    await deleteSnapshot(workspace, "a").result;
    expect([await names(workspace), await layers(workspace)]).toEqual([["baseline", "b"], 2]);
    await workspace.reset("b").result;
    expect(await state(workspace)).toBe("b");
    await deleteSnapshot(workspace, "b").result;
    expect([await layers(workspace), await state(workspace)]).toEqual([2, "b"]);
    await workspace.reset().result;
    expect([await names(workspace), await layers(workspace)]).toEqual([["baseline"], 0]);
  });

  it("leaves other branches of the chain alone", async () => {
    const workspace = await withTwo();
    await workspace.reset("a").result;
    await createSnapshot(workspace, "fork").result;
    expect(await layers(workspace)).toBe(3);
    await deleteSnapshot(workspace, "b").result;
    expect(await layers(workspace)).toBe(2);
    await deleteSnapshot(workspace, "a").result;
    await workspace.reset("fork").result;
    expect([await state(workspace), await layers(workspace)]).toEqual(["a", 2]);
  });

  it("stays for whoever has its layer by another name, which nobody can write to", async () => {
    const workspace = await withTwo();
    const [first = ""] = await readdir(workspace.paths.layers);
    const elsewhere = host.path("layer");
    await link(join(workspace.paths.layers, first), elsewhere);
    await deleteSnapshot(workspace, "a").result;
    await deleteSnapshot(workspace, "b").result;
    await workspace.reset().result;
    expect(await layers(workspace)).toBe(0);
    expect((await stat(elsewhere)).mode & 0o777).toBe(0o444);
  });
});

describe("a snapshot that is interrupted", () => {
  const gone = (): never => {
    throw new PyroError("VM_CRASHED", "it is gone", { hint: "again" });
  };

  it.each(["put", "held"])("(%s fails) is gone, and the workspace goes on", async (step) => {
    const workspace = await host.create();
    await write(workspace, "a");
    host.machines.before = (now) => {
      if (now === step) gone();
    };
    await expect(createSnapshot(workspace, "a").result).rejects.toMatchObject({ code: "VM_CRASHED" });
    host.machines.before = () => undefined;
    expect([workspace.record.sealing, await names(workspace), await layers(workspace)]).toEqual([
      ...[null, ["baseline"], 0],
    ]);
    await write(workspace, "b");
    await createSnapshot(workspace, "a").result;
    await workspace.reset("a").result;
    expect(await state(workspace)).toBe("b");
  });

  it("(letting go fails) is gone, but the layer that is written to stays above the sealed one", async () => {
    const workspace = await host.create();
    await write(workspace, "a");
    host.machines.before = (now) => {
      if (now === "letGo") gone();
    };
    await expect(createSnapshot(workspace, "a").result).rejects.toMatchObject({ code: "VM_CRASHED" });
    host.machines.before = () => undefined;
    await write(workspace, "b");
    expect([await names(workspace), await layers(workspace)]).toEqual([["baseline"], 1]);
    await workspace.stop("ttl").result;
    expect(await state(workspace)).toBe("b");
  });

  it.each([
    ["put", ["baseline"]],
    ["held", ["baseline"]],
    ["letGo", ["baseline", "a"]],
  ])(
    "(the daemon dies at %s) is whole or gone, and nothing that was written is lost",
    async (step, expected) => {
      const { id } = await host.create();
      await write(again(id), "a");
      const reached = vi.fn();
      host.machines.before = (now) => {
        if (now !== step) return;
        reached();
        return hang();
      };
      createSnapshot(again(id), "a");
      await vi.waitFor(() => expect(reached).toHaveBeenCalled());
      await host.crash();
      expect([await names(again(id)), again(id).record.sealing]).toEqual([expected, null]);
      await write(again(id), "b");
      await again(id).stop("ttl").result;
      expect(await state(again(id))).toBe("b");
      if (expected.includes("a")) {
        await again(id).reset("a").result;
        expect(await state(again(id))).toBe("a");
      }
    },
  );

  it.each(["held", "letGo"])(
    "(daemon and machine die at %s) loses nothing that was written",
    async (step) => {
      const { id } = await host.create();
      await write(again(id), "a");
      const reached = vi.fn();
      host.machines.before = (now) => {
        if (now !== step) return;
        reached();
        return hang();
      };
      createSnapshot(again(id), "a");
      await vi.waitFor(() => expect(reached).toHaveBeenCalled());
      host.machines.killDaemon();
      host.machines.machine.lose();
      await host.next();
      expect([await names(again(id)), again(id).record.sealing]).toEqual([["baseline"], null]);
      expect(await state(again(id))).toBe("a");
    },
  );

  it("(a machine that does not say where it writes) changes nothing until it does", async () => {
    const workspace = await host.create();
    host.machines.before = (now) => {
      if (now === "held" || now === "topLayer") gone();
    };
    await expect(createSnapshot(workspace, "a").result).rejects.toMatchObject({ code: "VM_CRASHED" });
    expect(workspace.record.sealing).toMatchObject({ snapshot: { name: "a" } });
    await expect(createSnapshot(workspace, "b").result).rejects.toMatchObject({ code: "VM_CRASHED" });
    host.machines.before = () => undefined;
    await createSnapshot(workspace, "b").result;
    expect(await names(workspace)).toEqual(["baseline", "b"]);
  });
});

describe("a reset", () => {
  it("that fails begins with what it goes back to, whatever is asked for next", async () => {
    const workspace = await withTwo();
    host.machines.before = (now) => {
      if (now === "renew") throw new PyroError("DISK_FULL", "no room", { hint: "free some" });
    };
    await expect(workspace.reset("a").result).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(workspace.record.state).toBe("resetting");
    await expect(createSnapshot(workspace, "d").result).rejects.toMatchObject({ code: "DISK_FULL" });
    host.machines.before = () => undefined;
    expect(await state(workspace)).toBe("a");
    expect(workspace.record.reset).toMatchObject({ count: 1, snapshot: "a" });
  });

  it("that a daemon died in goes back to the same snapshot in the next", async () => {
    const { id } = await withTwo();
    const reached = vi.fn();
    host.machines.before = (now) => {
      if (now !== "renew") return;
      reached();
      return hang();
    };
    again(id).reset("a");
    await vi.waitFor(() => expect(reached).toHaveBeenCalled());
    await host.crash();
    expect([again(id).record.reset.snapshot, await state(again(id))]).toEqual(["a", "a"]);
  });
});

it("The record of a version that knew no snapshots is read", async () => {
  const { id, paths } = await host.create();
  await host.workspaces[Symbol.asyncDispose]();
  const old = JSON.parse(await readFile(paths.record, "utf8")) as Record<string, unknown>;
  const fresh = { layers: undefined, snapshots: undefined, sealing: undefined, resetTo: undefined };
  await writeFile(paths.record, JSON.stringify({ ...old, ...fresh }));
  await host.next();
  expect(await names(again(id))).toEqual(["baseline"]);
  expect(await content(again(id), "seeded")).toBe("as seeded\n");
});
