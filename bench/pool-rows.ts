import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { sleep } from "../src/kit/index.js";
import { median, timed } from "../src/operations/bench/samples.js";
import { ENVIRONMENT, type BenchState } from "./bench-state.js";
import type { Row } from "./report.js";
import type { RestoreFloors } from "./restore-rows.js";

const execute = promisify(execFile);

/** What a user waits for when a machine waits ready. Starts a daemon with a pool, and ends it. */
export async function poolRows(state: BenchState, floors: RestoreFloors, rounds: number): Promise<Row[]> {
  return await withPool(state, 2, () => measure(state, floors, rounds));
}

/** Work with daemons that keep so many machines ready. Ends the daemon before and after. */
export async function withPool<T>(state: BenchState, size: number, work: () => Promise<T>): Promise<T> {
  await state.pyro.stopDaemon();
  const usual = process.env["PYRO_POOL"];
  process.env["PYRO_POOL"] = String(size);
  try {
    return await work();
  } finally {
    await state.pyro.stopDaemon();
    process.env["PYRO_POOL"] = usual;
  }
}

async function measure(state: BenchState, floors: RestoreFloors, rounds: number): Promise<Row[]> {
  const { pyro, command } = state;
  const trueInVm = { environment: ENVIRONMENT, argv: ["true"] };
  const takes: number[] = [];
  const commands: number[] = [];
  const node: number[] = [];
  const runs: number[] = [];
  // Two uses: so many are kept of a shape from then on.
  await pyro.runInVm(trueInVm);
  await pyro.runInVm(trueInVm);
  for (let round = 0; round < rounds; round += 1) {
    await poolIsFull(state);
    const { startupMs, durationMs } = await pyro.runInVm(trueInVm);
    takes.push(startupMs);
    commands.push(durationMs);
    await poolIsFull(state);
    node.push(await timed(() => execute(process.execPath, ["-e", "0"])));
    runs.push(await timed(() => command("run", ENVIRONMENT, "--", "true")));
  }
  return [
    { name: "pool: taken, woken, with an identity anew", value: median(takes), unit: "ms", aim: "15 ms" },
    { name: "pool: then the command, as the guest tells", value: median(commands), unit: "ms" },
    {
      name: `pyro run ${ENVIRONMENT} -- true, from the pool`,
      value: median(runs),
      unit: "ms",
      floor: {
        name: "node + raw restore + the command",
        value: median(node) + floors.restoreMs + median(commands),
      },
      aim: "floor + 120 ms",
    },
  ];
}

/** The pool holds what it keeps of one shape: none is being made. */
export async function poolIsFull({ pyro }: BenchState): Promise<void> {
  while ((await pyro.daemonStatus()).pooledVms !== 2) await sleep(50);
  await sleep(200);
}
