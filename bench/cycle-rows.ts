import type { DaemonStatus } from "../src/index.js";
import { sleep } from "../src/kit/index.js";
import { processesOf } from "../src/operations/bench/processes.js";
import { median, timed } from "../src/operations/bench/samples.js";
import { ENVIRONMENT, type BenchState } from "./bench-state.js";
import { footprint, type Footprint } from "./footprint.js";
import type { Row } from "./report.js";

/** Cycles before the first look: what is made once and kept (template, code, heap) is no leak. */
const WARM_UP = 5;
/** What the daemon's process may take to leave after it stopped serving. */
const LEAVING_MS = 10_000;

/**
 * Machines created, used once and deleted, one after the other, and what the host holds afterwards. The floor of each
 * figure is the same one before the cycles; after `pyro daemon stop` nothing may run any more. Ends the daemon.
 */
export async function cycleRows(state: BenchState, count: number): Promise<Row[]> {
  const { pyro, stateDir } = state;
  await cycles(state, WARM_UP);
  const pid = (await pyro.daemonStatus()).pid ?? undefined;
  const before = footprint(stateDir, pid);
  const samples = await cycles(state, Math.ceil(count / 2));
  // A heap grows to the size it works in, a leak goes on: the second half tells them apart.
  const half = footprint(stateDir, pid);
  samples.push(...(await cycles(state, Math.floor(count / 2))));
  const after = footprint(stateDir, pid);
  if ((await pyro.daemonStatus()).pid !== pid) throw new Error("the daemon changed during the cycles");
  await pyro.stopDaemon();
  // It serves no more; its process leaves when it has ended what was its own.
  for (let waited = 0; processesOf(stateDir).length > 0 && waited < LEAVING_MS; waited += 50) await sleep(50);
  const stopped = footprint(stateDir, undefined);
  const what = `${count} create/exec/delete cycles`;
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
      name: "  the same against half of the cycles",
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

async function cycles({ pyro }: BenchState, count: number): Promise<number[]> {
  const samples = [];
  for (let cycle = 0; cycle < count; cycle += 1) {
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
