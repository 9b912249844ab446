import { median } from "../src/operations/bench/samples.js";
import { rawMachine } from "./raw-machine.js";
import type { Row } from "./report.js";
import { openRig, type Subject } from "./rig.js";

/** Starting machines with no template: the raw boot, and what the daemon's own rooms make of it, in turns. */
export async function bootRows(subject: Subject, rounds: number): Promise<Row[]> {
  await using rig = await openRig(subject);
  const raw: number[] = [];
  const cold: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    await using machine = await rawMachine(subject, rig.shape.memMib);
    raw.push(machine.bootMs);
    await machine[Symbol.asyncDispose]();
    const startedAt = performance.now();
    await using booted = await rig.machines.boot(
      { ...rig.shape, kind: "sandbox", disks: rig.disks },
      new AbortController().signal,
    );
    cold.push(performance.now() - startedAt);
    await booted[Symbol.asyncDispose]();
  }
  const floor = { name: "raw QEMU, spawn to the agent's hello", value: median(raw) };
  return [
    { name: "raw boot to the agent's hello", value: floor.value, unit: "ms" },
    { name: "cold create to the agent's hello", value: median(cold), unit: "ms", floor },
  ];
}
