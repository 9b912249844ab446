import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { RunEvent } from "../src/index.js";
import { machinesOf, memoryOf } from "../src/operations/bench/processes.js";
import { median, repeat } from "../src/operations/bench/samples.js";
import { ENVIRONMENT, type BenchState } from "./bench-state.js";
import type { Row } from "./report.js";
import type { RestoreFloors } from "./restore-rows.js";

/** Several machines of one daemon: at once, and what they and the daemon take of memory. */
export async function daemonRows(state: BenchState, floors: RestoreFloors, rounds: number): Promise<Row[]> {
  const rows = await crowdRows(state, rounds);
  return [...rows, ...(await memoryRows(state, floors))];
}

const runTrue = ({ pyro }: BenchState) => pyro.runInVm({ environment: ENVIRONMENT, argv: ["true"] });

/** So many things that are asked for at once; each tells what it took, in ms. */
type Crowd = (count: number) => Promise<number[]>;

/** Empty workspaces, from the call to the sealed baseline. */
function creates({ pyro }: BenchState): Crowd {
  return async (count) => {
    const made = await Promise.all(
      Array.from({ length: count }, async () => {
        const startedAt = performance.now();
        const { workspaceId } = await pyro.createWorkspace({ environment: ENVIRONMENT });
        return { workspaceId, tookMs: performance.now() - startedAt };
      }),
    );
    for (const { workspaceId } of made) await pyro.deleteWorkspace(workspaceId);
    return made.map(({ tookMs }) => tookMs);
  };
}

/** Machines of runs until they are ready (queue, start, identity and mount, as the daemon tells), while others already run. */
function runs(state: BenchState): Crowd {
  return async (count) => {
    const results = await Promise.all(Array.from({ length: count }, () => runTrue(state)));
    const failed = results.filter(({ exitCode }) => exitCode !== 0).length;
    if (failed > 0) throw new Error(`${failed} of ${count} at once failed`);
    return results.map(({ startupMs }) => startupMs);
  };
}

async function crowdRows(state: BenchState, rounds: number): Promise<Row[]> {
  return [
    ...(await sizesOf("workspace create", creates(state), rounds, "3x")),
    ...(await sizesOf("run until its machine is ready", runs(state), rounds)),
  ];
}

async function sizesOf(what: string, crowd: Crowd, rounds: number, aim?: string): Promise<Row[]> {
  const samples = new Map<number, number[]>([1, 4, 8].map((count) => [count, []]));
  for (let round = 0; round < rounds; round += 1) {
    // One alone has fewer samples per round than eight: three of it make up for that.
    for (const count of [1, 1, 1, 4, 8]) samples.get(count)?.push(...(await crowd(count)));
  }
  const of = (count: number): number => median(samples.get(count) ?? []);
  const floor = { name: "one alone", value: of(1) };
  return [
    { name: `${what}, 1 at a time`, value: floor.value, unit: "ms" },
    { name: `${what}, 4 at once (all came): median`, value: of(4), unit: "ms", floor },
    {
      ...{ name: `${what}, 8 at once (all came): median`, value: of(8), unit: "ms", floor },
      ...(aim === undefined ? {} : { aim }),
    },
  ];
}

const BARE_NODE =
  "process.stdout.write(require('fs').readFileSync('/proc/self/smaps_rollup', 'utf8').match(/^Rss: +(\\d+)/m)[1])";

async function memoryRows(state: BenchState, floors: RestoreFloors): Promise<Row[]> {
  const machines = await machinesInUse(state, 4);
  const { pid } = await state.pyro.daemonStatus();
  const daemon = memoryOf(pid ?? 0);
  const bare = await repeat(3, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ["-e", BARE_NODE]);
    return Number(stdout) / 1024;
  });
  return [
    {
      name: "private memory of a VM after an exec",
      value: median(machines),
      unit: "MiB",
      floor: { name: "raw restore at its first answer", value: floors.memoryMib },
    },
    {
      name: "daemon: resident memory",
      value: daemon.residentMib,
      unit: "MiB",
      floor: { name: "node -e 0", value: median(bare) },
    },
    { name: "daemon: private memory (heap and what it wrote)", value: daemon.privateMib, unit: "MiB" },
  ];
}

/** Private memory of each of `count` machines while their command waits. */
async function machinesInUse({ pyro, stateDir }: BenchState, count: number): Promise<number[]> {
  const waiting = [];
  for (let index = 0; index < count; index += 1)
    waiting.push(await untilItSpeaks(pyro.streamInVm({ environment: ENVIRONMENT, command: "echo up; cat" })));
  const sizes = machinesOf(stateDir).map((pid) => memoryOf(pid).privateMib);
  for (const stream of waiting) await stream.return?.();
  return sizes;
}

async function untilItSpeaks(stream: AsyncIterable<RunEvent>): Promise<AsyncIterator<RunEvent>> {
  const events = stream[Symbol.asyncIterator]();
  for (;;) {
    const next = await events.next();
    if (next.done === true) throw new Error("a machine ended before its command spoke");
    if (next.value.type === "stdout") return events;
  }
}
