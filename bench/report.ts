import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";
import { dirname } from "node:path";

/** One figure, and the floor it is measured against in the same run. */
export interface Row {
  readonly name: string;
  readonly value: number;
  /** Empty for a count. */
  readonly unit: "ms" | "MB/s" | "files/s" | "MiB" | "";
  /** What could not be beaten: the same thing with nothing of ours in between. */
  readonly floor?: { readonly name: string; readonly value: number };
  /** What the project aims at, in words; printed, never enforced. */
  readonly aim?: string;
}

/** Prints the table, and writes it as JSON with what is known of the host. */
export function report(rows: readonly Row[], facts: Readonly<Record<string, unknown>>, path: string): void {
  const format = (value: number): string =>
    value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(2);
  const lines = rows.map(({ name, value, unit, floor, aim }) => [
    name,
    `${format(value)} ${unit}`,
    floor === undefined ? "" : `${format(floor.value)} ${unit}`,
    floor === undefined || floor.value === 0 ? "" : `${(value / floor.value).toFixed(2)}x`,
    floor?.name ?? "",
    aim ?? "",
  ]);
  const table = [["figure", "value", "floor", "ratio", "the floor is", "aim"], ...lines];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0))) ?? [];
  for (const line of table) {
    console.log(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
  }
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(
    path,
    `${JSON.stringify({ at: new Date().toISOString(), host: hostFacts(), ...facts, rows }, null, 2)}\n`,
  );
  console.log(`\nwritten to ${path}`);
}

function hostFacts(): Readonly<Record<string, unknown>> {
  const processors = cpus();
  const distribution = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "";
  return {
    cpu: processors[0]?.model ?? "",
    cores: availableParallelism(),
    // Of the minute that ended with the run: the run's own load, and that of whoever shares the host.
    load_average: loadavg()[0],
    memory_mib: Math.round(totalmem() / 1048576),
    kernel: release(),
    distribution,
    node: process.version,
  };
}
