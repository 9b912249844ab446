import { execFile } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { median, repeat, timed } from "../src/operations/bench/samples.js";
import { ENVIRONMENT, type BenchState } from "./bench-state.js";
import type { Row } from "./report.js";

const MIB = 1024 ** 2;
const SHAPE = { environment: ENVIRONMENT, memMib: 512 };
const CHILDREN = 8;
/** A tmpfs: what a copy in memory costs. */
const IN_MEMORY = "/dev/shm";

/** Suspend, resume and forks, beside plain copies of the memory that was in use. */
export async function memoryRows({ pyro, stateDir }: BenchState, rounds: number): Promise<Row[]> {
  const { workspaceId } = await pyro.createWorkspace(SHAPE);
  await pyro.execWorkspace({ workspaceId, argv: ["python3", "-c", "print(1)"] });
  const copies: { disk: number; memory: number }[] = [];
  const resumed: number[] = [];
  const suspended = await repeat(rounds, async () => {
    const took = await timed(() => pyro.stopWorkspace(workspaceId, { suspend: true }));
    copies.push(await copiesOf(join(stateDir, "workspaces", workspaceId, "memory", "memory"), stateDir));
    resumed.push(await timed(() => pyro.startWorkspace(workspaceId)));
    return took;
  });
  const inMemory = {
    name: "a copy of the memory in use, in memory",
    value: median(copies.map(({ memory }) => memory)),
  };
  const onDisk = { name: "a copy of it on the disk, synced", value: median(copies.map(({ disk }) => disk)) };
  let taking = 0;
  const taken = await repeat(rounds, () =>
    timed(() => pyro.createSnapshot({ workspaceId, snapshotName: `m${taking++}`, memory: true })),
  );
  const reset = await repeat(rounds, () => timed(() => pyro.resetWorkspace(workspaceId, { snapshot: "m0" })));
  const fork = async (count: number): Promise<{ took: number; childBytes: number }> => {
    const startedAt = performance.now();
    const { children } = await pyro.forkWorkspace(workspaceId, { count });
    const took = performance.now() - startedAt;
    const ids = new Set(
      children.filter(({ state }) => state === "started").map((child) => child.workspaceId),
    );
    if (ids.size < count) throw new Error(`only ${ids.size} of ${count} children run`);
    const { workspaces } = await pyro.topWorkspaces();
    const used = workspaces.filter((each) => ids.has(each.workspaceId)).map(({ memoryBytes }) => memoryBytes);
    for (const id of ids) await pyro.deleteWorkspace(id);
    return { took, childBytes: median(used) };
  };
  const single = await repeat(rounds, async () => (await fork(1)).took);
  const many = await fork(CHILDREN);
  const { pauses, usedMib } = await captures(stateDir);
  await pyro.deleteWorkspace(workspaceId);
  return [
    { name: "memory in use of a workspace of 512 MiB", value: usedMib, unit: "MiB" },
    { name: "suspend, median", value: median(suspended), unit: "ms", floor: onDisk },
    { name: "resume, median", value: median(resumed), unit: "ms", floor: inMemory, aim: "1 s" },
    { name: "snapshot with memory, median", value: median(taken), unit: "ms", floor: onDisk },
    { name: "reset to it, median", value: median(reset), unit: "ms", floor: inMemory },
    {
      name: "fork or snapshot with memory: pause of the workspace, median",
      value: median(pauses),
      unit: "ms",
      floor: inMemory,
      aim: "100 ms more",
    },
    { name: "fork of 1, until it runs, median", value: median(single), unit: "ms", floor: inMemory },
    { name: `fork of ${CHILDREN}, until all run`, value: many.took, unit: "ms", aim: "3 s" },
    { name: "  memory of an idle child, its own", value: many.childBytes / MIB, unit: "MiB" },
  ];
}

/** How long plain copies of a sparse file take, in ms. */
async function copiesOf(path: string, directory: string): Promise<{ disk: number; memory: number }> {
  const copy = async (target: string, sync: boolean): Promise<number> => {
    const took = await timed(async () => {
      await promisify(execFile)("cp", ["--sparse=always", path, target]);
      if (sync) await promisify(execFile)("sync", [target]);
    });
    await rm(target);
    return took;
  };
  return {
    disk: await copy(join(directory, "copied"), true),
    memory: await copy(join(IN_MEMORY, `pyro-bench-${process.pid}`), false),
  };
}

/** What the daemon says of each time that it took a machine's memory. */
async function captures(stateDir: string): Promise<{ pauses: number[]; usedMib: number }> {
  const lines = (await readFile(join(stateDir, "daemon.log"), "utf8")).split("\n");
  const taken = lines
    .filter((line) => line.includes('"workspace.captured"'))
    .map((line) => JSON.parse(line) as { pauseMs: number; usedBytes: number });
  return {
    pauses: taken.map(({ pauseMs }) => pauseMs),
    usedMib: median(taken.map(({ usedBytes }) => usedBytes)) / MIB,
  };
}
