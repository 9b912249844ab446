import type { DaemonStatus } from "../src/index.js";
import { sleep } from "../src/kit/index.js";
import { processesOf } from "../src/operations/bench/processes.js";
import { median, timed } from "../src/operations/bench/samples.js";
import { ENVIRONMENT, type BenchState } from "./bench-state.js";
import { footprint, type Footprint } from "./footprint.js";
import { poolIsFull, withPool } from "./pool-rows.js";
import type { Row } from "./report.js";

/** Cycles before the first look: what is made once and kept (template, code, heap) is no leak. */
const WARM_UP = 5;
/** What the daemon's process may take to leave after it stopped serving. */
const LEAVING_MS = 10_000;

/**
 * Machines created, used once and deleted, one after the other, and what the host holds afterwards. The floor of each
 * figure is the same one before the cycles; after `pyro daemon stop` nothing may run any more. With `pooled` each machine
 * is one that waited ready. Ends the daemon.
 */
export async function cycleRows(state: BenchState, count: number, pooled = false): Promise<Row[]> {
  return pooled
    ? await withPool(state, 2, () => measure(state, count, true))
    : await measure(state, count, false);
}

async function measure(state: BenchState, count: number, pooled: boolean): Promise<Row[]> {
  const { pyro, stateDir } = state;
  await cycles(state, WARM_UP, false);
  if (pooled) await poolIsFull(state);
  const pid = (await pyro.daemonStatus()).pid ?? undefined;
  const before = footprint(stateDir, pid);
  // A heap grows to the size it works in, a leak goes on: the later ones tell them apart.
  const [quarter, samples] = [Math.floor(count / 4), [] as number[]];
  const lookAfter = async (more: number): Promise<Footprint> => {
    samples.push(...(await cycles(state, more, pooled)));
    if (pooled) await poolIsFull(state);
    return footprint(stateDir, pid);
  };
  const first = await lookAfter(quarter);
  const half = await lookAfter(Math.floor(count / 2) - quarter);
  const after = await lookAfter(count - Math.floor(count / 2));
  if ((await pyro.daemonStatus()).pid !== pid) throw new Error("the daemon changed during the cycles");
  await pyro.stopDaemon();
  // It serves no more; its process leaves when it has ended what was its own.
  for (let waited = 0; processesOf(stateDir).length > 0 && waited < LEAVING_MS; waited += 50) await sleep(50);
  const stopped = footprint(stateDir, undefined);
  const what = `${count} create/exec/delete cycles${pooled ? ", each from the pool" : ""}`;
  const changed = (name: string, unit: Row["unit"], of: (footprint: Footprint) => number): Row => ({
    name: `  after them: ${name}`,
    ...{ value: of(after), unit },
    floor: { name: "before them", value: of(before) },
  });
  return [
    { name: `${what}: median of one`, value: median(samples), unit: "ms" },
    changed("processes besides the daemon", "", ({ processes }) => processes),
    changed("descriptors of the daemon", "", ({ descriptors }) => descriptors),
    changed("sockets among them", "", ({ sockets }) => sockets),
    changed("files of the state directory", "", ({ files }) => files),
    changed("resident memory of the daemon", "MiB", ({ residentMib }) => residentMib),
    changed("private memory of the daemon", "MiB", ({ privateMib }) => privateMib),
    {
      name: "  the same after half of the cycles",
      ...{ value: half.privateMib, unit: "MiB" },
      floor: { name: "after a quarter of them", value: first.privateMib },
    },
    {
      name: "  the same after all of them",
      ...{ value: after.privateMib, unit: "MiB" },
      floor: { name: "after half of them", value: half.privateMib },
    },
    { name: "  after the daemon's stop: processes", value: stopped.processes, unit: "", aim: "0" },
    {
      name: "  after the daemon's stop: files",
      value: stopped.files,
      unit: "",
      floor: { name: "before the cycles", value: before.files },
    },
  ];
}

async function cycles(state: BenchState, count: number, pooled: boolean): Promise<number[]> {
  const { pyro } = state;
  const samples = [];
  for (let cycle = 0; cycle < count; cycle += 1) {
    if (pooled) await poolIsFull(state);
    samples.push(
      await timed(async () => {
        const { exitCode } = await pyro.runInVm({ environment: ENVIRONMENT, argv: ["true"] });
        if (exitCode !== 0) throw new Error(`cycle ${cycle} ended with ${exitCode ?? "a signal"}`);
      }),
    );
    if (cycle % 50 === 49)
      console.error(`${cycle + 1} of ${count} cycles, daemon ${memoryText(await pyro.daemonStatus())}`);
  }
  return samples;
}

function memoryText({ residentBytes }: DaemonStatus): string {
  return `${Math.round((residentBytes ?? 0) / 1024 ** 2)} MiB`;
}
