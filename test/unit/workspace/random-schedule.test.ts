/** Threats, row 69: many callers at once, in an order that only a seed decides; one may win, nobody may break anything. */
import { describe, expect, it } from "vitest";
import { sleep } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import type { Workspace } from "../../../src/workspace/index.js";
import { NEVER, run, WorkspaceHost } from "../../fakes/workspace-host.js";

/** A small generator that a seed decides (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What a caller may be told: that it came too late, or has to wait. */
const ALLOWED = [
  "WORKSPACE_DELETED",
  "WORKSPACE_NOT_FOUND",
  "WORKSPACE_STOPPED",
  "WORKSPACE_FAILED",
  "WORKSPACE_BUSY",
  "VM_CRASHED",
];

type Act = (host: WorkspaceHost, workspace: Workspace) => Promise<unknown>;

const ACTS: Readonly<Record<string, Act>> = {
  exec: (_, workspace) => run(workspace, "echo x; sleep 0.02"),
  reset: (_, workspace) => workspace.reset().result,
  stop: (_, workspace) => workspace.stop("user").result,
  start: (_, workspace) => workspace.start().result,
  expire: (_, workspace) => workspace.stop("ttl").result,
  rename: (_, workspace) => workspace.update({ name: "another" }),
  note: (_, workspace) => workspace.note({ kind: "file_write", path: "x", detail: "" }),
  push: (_, workspace) =>
    workspace.work("sync_push", async () => {
      await sleep(5);
      return { mode: "directory", destination: "/workspace", entryCount: 0, bytesWritten: 0, warnings: [] };
    }).result,
  lose: (host) => {
    const machines = [...host.machines.running.values()];
    machines[0]?.lose();
    return Promise.resolve();
  },
  delete: (host, workspace) => host.workspaces.delete(workspace),
};

describe("a random schedule of calls", () => {
  it.each([1, 2, 3, 5, 8, 13, 21, 34])("(seed %i) leaves each workspace usable or gone", async (seed) => {
    await using host = await WorkspaceHost.start();
    const next = random(seed);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
    host.machines.before = async () => await sleep(next() * 5);
    const all = await Promise.all([1, 2, 3].map((number) => host.begin({ name: `ws-${number}` })));
    const deleted = new Set<string>();
    const calls: Promise<unknown>[] = [];
    for (let step = 0; step < 40; step++) {
      // Deleting is rare, or there is nothing left to disturb.
      const act = pick(next() < 0.08 ? ["delete"] : Object.keys(ACTS).filter((name) => name !== "delete"));
      const workspace = pick(all);
      if (act === "delete") deleted.add(workspace.id);
      calls.push(
        Promise.resolve(ACTS[act]?.(host, workspace)).catch((error: unknown) => PyroError.from(error)),
      );
      if (next() < 0.3) await sleep(next() * 10);
    }
    for (const outcome of await Promise.all(calls))
      if (outcome instanceof PyroError) expect(ALLOWED, outcome.message).toContain(outcome.code);
    host.machines.before = () => undefined;
    for (const workspace of host.workspaces.all) {
      await workspace.settle(10_000, NEVER);
      if (workspace.record.stoppedBy === "user") await workspace.start().result;
      expect(await run(workspace, "echo usable")).toBe("usable\n");
    }
    expect(host.workspaces.all.map(({ id }) => id).filter((id) => deleted.has(id))).toEqual([]);
    expect(host.workspaces.all).toHaveLength(all.length - deleted.size);
    expect(await host.left()).toEqual(host.workspaces.all.map(({ id }) => id).sort());
    expect(host.machines.running.size).toBe(host.workspaces.all.length);
  });
});
