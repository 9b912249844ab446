import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { packagePath } from "../src/kit/index.js";
import type { Isolation, RuntimeBundle } from "../src/vmm/index.js";
import { rawMachine } from "./raw-machine.js";
import { median, type Row } from "./report.js";

const execute = promisify(execFile);

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

async function repeat(count: number, work: () => Promise<number>): Promise<number[]> {
  const samples = [];
  for (let round = 0; round < count; round++) samples.push(await work());
  return samples;
}

/** Starting machines: the raw boot, and what a user waits for. */
export async function machineRows(
  qemu: string,
  bundle: RuntimeBundle,
  isolation: Isolation,
  rounds: number,
): Promise<Row[]> {
  const boots: number[] = [];
  const runs: number[] = [];
  const pyro = (...args: string[]) => execute(process.execPath, [join(packagePath("bin"), "pyro"), ...args]);
  await pyro("run", "debian:12", "--", "true");
  // In turns, so that both see the same neighbours on a noisy machine.
  for (let round = 0; round < rounds; round++) {
    await using machine = await rawMachine(qemu, bundle, isolation, 1024);
    boots.push(machine.bootMs);
    await machine[Symbol.asyncDispose]();
    runs.push(await timed(() => pyro("run", "debian:12", "--", "true")));
  }
  const node = median(await repeat(rounds, () => timed(() => execute(process.execPath, ["-e", ""]))));
  const version = median(await repeat(rounds, () => timed(() => pyro("--version"))));
  const floor = { name: "raw QEMU, spawn to the agent's hello", value: median(boots) };
  return [
    { name: "raw boot to agent", value: floor.value, unit: "ms" },
    { name: "pyro run debian:12 -- true, daemon running", value: median(runs), unit: "ms", floor },
    {
      name: "pyro --version",
      value: version,
      unit: "ms",
      floor: { name: "node -e ''", value: node },
      aim: "floor + 60 ms",
    },
  ];
}
