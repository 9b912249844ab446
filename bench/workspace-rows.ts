import { rm } from "node:fs/promises";
import { join } from "node:path";
import { median, repeat, timed } from "../src/operations/bench/samples.js";
import { ENVIRONMENT, type BenchState } from "./bench-state.js";
import { rates, type LinkFloors } from "./link-floors.js";
import { poolIsFull, withPool } from "./pool-rows.js";
import type { Row } from "./report.js";
import { changingCommand, makeFixtures, patchOf, type Fixtures } from "./workspace-tree.js";

/** How much of it: `rounds` of everything, with a large file of so many MiB. */
export interface WorkspaceLoad {
  readonly rounds: number;
  readonly fileCount: number;
  readonly largeMib: number;
}

/** What a workspace's whole life costs, against the bare link and what the guest does by itself. Ends the daemon. */
export async function workspaceRows(
  state: BenchState,
  floors: LinkFloors,
  { rounds, fileCount, largeMib }: WorkspaceLoad,
): Promise<Row[]> {
  await using fixtures = await makeFixtures(state.stateDir, fileCount, largeMib * 1024 ** 2);
  const samples = new Samples();
  await state.pyro.runInVm({ environment: ENVIRONMENT, argv: ["true"] });
  for (let round = 0; round < rounds; round += 1) {
    await emptyRound(state, samples, round === 0 ? 2 : 1);
    await untarRound(state, fixtures, samples);
    await treeRound(state, fixtures, samples);
    await largeRound(state, fixtures, samples);
  }
  await withPool(state, 2, () => pooledRound(state, samples, rounds));
  return rowsOf(samples, fixtures, floors);
}

/** Milliseconds by name. */
class Samples {
  readonly #all = new Map<string, number[]>();

  add(name: string, ms: number): void {
    this.#all.set(name, [...(this.#all.get(name) ?? []), ms]);
  }

  async time(name: string, work: () => Promise<unknown>): Promise<void> {
    this.add(name, await timed(work));
  }

  of(name: string): number {
    return median(this.#all.get(name) ?? []);
  }
}

/** A workspace for the time of some work; `seedMs` hears how long its creation took. */
async function within(
  { pyro }: BenchState,
  seed: string | undefined,
  heard: (createMs: number) => void,
  work: (workspaceId: string) => Promise<void>,
): Promise<void> {
  let workspaceId = "";
  const source = seed === undefined ? undefined : ({ kind: "path", path: seed } as const);
  heard(
    await timed(async () => {
      ({ workspaceId } = await pyro.createWorkspace({ environment: ENVIRONMENT, source }));
    }),
  );
  await work(workspaceId);
  await pyro.deleteWorkspace(workspaceId);
}

/** How long a command took, as the guest's agent tells. */
async function ran({ pyro }: BenchState, workspaceId: string, command: string): Promise<number> {
  const { result } = await pyro.execWorkspace({ workspaceId, command });
  if (result?.exitCode === 0) return result.durationMs;
  throw new Error(`${command}: ended with ${result?.exitCode ?? "a signal"}`);
}

async function emptyRound(state: BenchState, samples: Samples, times: number): Promise<void> {
  const run = { environment: ENVIRONMENT, argv: ["true"] };
  for (let time = 0; time < times; time += 1) {
    await samples.time("run", () => state.pyro.runInVm(run));
    await within(
      state,
      undefined,
      (ms) => samples.add("create", ms),
      async (workspaceId) => {
        await samples.time("stop empty", () => state.pyro.stopWorkspace(workspaceId));
        await samples.time("start empty", () => state.pyro.startWorkspace(workspaceId));
        await samples.time("reset empty", () => state.pyro.resetWorkspace(workspaceId));
      },
    );
  }
}

/** The guest's own work on the same files: unpacking, packing, looking at each. */
async function untarRound(state: BenchState, { packed, tree }: Fixtures, samples: Samples): Promise<void> {
  const { pyro } = state;
  await within(
    state,
    packed,
    () => undefined,
    async (workspaceId) => {
      const run = async (name: string, command: string): Promise<void> =>
        samples.add(name, await ran(state, workspaceId, command));
      await run("untar", "mkdir own && tar -C own -xf tree.tar");
      await run("sync", "sync");
      await run("tar", "tar -cf - own | cat > /dev/null");
      await run("walk", "find own -size +1000M");
      const cold = "echo 3 > /proc/sys/vm/drop_caches";
      await ran(state, workspaceId, cold);
      await run("cold walk", "find own -size +1000M");
      await ran(state, workspaceId, cold);
      await run("cold tar", "tar -cf - own | cat > /dev/null");
      await samples.time("push tree", () =>
        pyro.pushWorkspaceSync({ workspaceId, sourcePath: tree, dest: "/workspace/pushed" }),
      );
    },
  );
}

async function treeRound(state: BenchState, fixtures: Fixtures, samples: Samples): Promise<void> {
  const { pyro, stateDir } = state;
  const outputPath = join(stateDir, "exported");
  const export_ = async (name: string, workspaceId: string): Promise<void> => {
    await samples.time(name, () =>
      pyro.exportWorkspace({ workspaceId, path: "/workspace", outputPath, overwrite: true }),
    );
    await rm(outputPath, { recursive: true });
  };
  const diff = async (name: string, workspaceId: string, changed: number): Promise<void> => {
    await samples.time(name, async () => {
      const { entries } = await pyro.diffWorkspace({ workspaceId });
      if (entries.length !== changed) throw new Error(`${entries.length} changes instead of ${changed}`);
    });
  };
  await within(
    state,
    fixtures.tree,
    (ms) => samples.add("create tree", ms),
    async (workspaceId) => {
      const path = "part-0/file-0.txt";
      await ran(state, workspaceId, changingCommand(fixtures));
      await diff("diff", workspaceId, 20);
      await diff("diff again", workspaceId, 20);
      await export_("export tree", workspaceId);
      for (let time = 0; time < 20; time += 1)
        await samples.time("file read", () => pyro.readWorkspaceFile({ workspaceId, path }));
      for (let turn = 0; turn < 3; turn += 1)
        await samples.time("patch", () =>
          pyro.applyWorkspacePatch({ workspaceId, patch: patchOf(fixtures, "", turn) }),
        );
      await samples.time("stop", () => pyro.stopWorkspace(workspaceId));
      await samples.time("start", () => pyro.startWorkspace(workspaceId));
      await diff("diff after start", workspaceId, 20);
      await samples.time("reset", () => pyro.resetWorkspace(workspaceId));
      await diff("diff after reset", workspaceId, 0);
      await pyro.resetWorkspace(workspaceId);
      await export_("cold export tree", workspaceId);
    },
  );
}

async function largeRound(state: BenchState, fixtures: Fixtures, samples: Samples): Promise<void> {
  const { pyro, stateDir } = state;
  const outputPath = join(stateDir, "exported");
  const sourcePath = fixtures.large;
  await within(
    state,
    fixtures.large,
    (ms) => samples.add("create large", ms),
    async (workspaceId) => {
      await samples.time("push large", () =>
        pyro.pushWorkspaceSync({ workspaceId, sourcePath, dest: "/workspace/pushed" }),
      );
      await samples.time("export large", () =>
        pyro.exportWorkspace({ workspaceId, path: "/workspace/pushed/large", outputPath }),
      );
      await rm(outputPath);
    },
  );
}

async function pooledRound(state: BenchState, samples: Samples, rounds: number): Promise<void> {
  const run = { environment: ENVIRONMENT, argv: ["true"] };
  await state.pyro.runInVm(run);
  await state.pyro.runInVm(run);
  await repeat(rounds + 2, async () => {
    await poolIsFull(state);
    await samples.time("pooled run", () => state.pyro.runInVm(run));
    await poolIsFull(state);
    await within(
      state,
      undefined,
      (ms) => samples.add("pooled create", ms),
      () => Promise.resolve(),
    );
    return 0;
  });
}

function rowsOf(
  samples: Samples,
  { fileCount, treeBytes, largeBytes }: Fixtures,
  { roundTripMs, inMbs, outMbs }: LinkFloors,
): Row[] {
  const of = (name: string): number => samples.of(name);
  const time = (name: string, value: number, floorName: string, floor: number, aim?: string): Row => ({
    ...{ name, value, unit: "ms", floor: { name: floorName, value: floor } },
    ...(aim === undefined ? {} : { aim }),
  });
  const perSecond = (ms: number): number => (fileCount / ms) * 1000;
  const files = (name: string, ms: number, floorName: string, floorMs: number, aim?: string): Row => ({
    ...{ name, value: perSecond(ms), unit: "files/s" },
    floor: { name: floorName, value: perSecond(floorMs) },
    ...(aim === undefined ? {} : { aim }),
  });
  const bytes = (name: string, ms: number, floorName: string, floor: number): Row => ({
    ...{ name, value: rates(largeBytes, ms), unit: "MB/s", aim: "0.6x" },
    floor: { name: floorName, value: floor },
  });
  // What is left when the machine of the workspace is taken off: the seed, and flushing it for the baseline.
  const seedMs = of("create tree") - of("create");
  const run = "a run of true";
  const walk = "the guest's own walk of one such tree";
  const many = `${fileCount} small files`;
  const one = `one file of ${Math.round(largeBytes / 1024 ** 2)} MiB`;
  const ownUntar = "the guest's own untar";
  return [
    time("workspace: create, empty", of("create"), run, of("run")),
    time(
      "workspace: create, empty, from the pool",
      of("pooled create"),
      `${run} from the pool`,
      of("pooled run"),
    ),
    time("workspace: stop, empty", of("stop empty"), run, of("run")),
    time("workspace: start, empty", of("start empty"), run, of("run")),
    time("workspace: reset, empty", of("reset empty"), run, of("run")),
    files(`seed of ${many}, flushed`, seedMs, `${ownUntar}, and sync`, of("untar") + of("sync"), "0.8x"),
    { name: `  the same in bytes`, value: rates(treeBytes, seedMs), unit: "MB/s" },
    files(`sync push of ${many}`, of("push tree"), ownUntar, of("untar"), "0.8x"),
    bytes(`seed of ${one}, flushed`, of("create large") - of("create"), "stream into the guest", inMbs),
    bytes(`sync push of ${one}`, of("push large"), "stream into the guest", inMbs),
    bytes(`export of ${one}`, of("export large"), "stream out of the guest", outMbs),
    files(`export of ${many}`, of("export tree"), "the guest's own tar of them", of("tar")),
    files(`  the same from cold disks`, of("cold export tree"), "the guest's own, cold", of("cold tar")),
    time(`diff of ${many}, 20 changed: first`, of("diff"), walk, of("walk"), "1000 ms"),
    time(`  the same again`, of("diff again"), walk, of("walk"), "1000 ms"),
    time(
      `  the same, first after a start`,
      of("diff after start"),
      `${walk}, cold`,
      of("cold walk"),
      "1000 ms",
    ),
    time(
      `  none changed, first after a reset`,
      of("diff after reset"),
      `${walk}, cold`,
      of("cold walk"),
      "1000 ms",
    ),
    time("patch apply, 20 files", of("patch"), "20 round trips of the port", 20 * roundTripMs),
    time("file read of 0.3 KB", of("file read"), "round trip of the port", roundTripMs),
    time(`workspace: stop, ${many}`, of("stop"), "the same, empty", of("stop empty")),
    time(`workspace: start, ${many}`, of("start"), "the same, empty", of("start empty")),
    time(`workspace: reset, ${many}`, of("reset"), "the same, empty", of("reset empty")),
  ];
}
