import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { dirname } from "node:path";

/** One figure, and the floor it is measured against in the same run. */
export interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: "ms" | "MB/s" | "MiB";
  /** What could not be beaten: the same thing with nothing of ours in between. */
  readonly floor?: { readonly name: string; readonly value: number };
  /** What the project aims at, in words; printed, never enforced. */
  readonly aim?: string;
}

/** The value below which `share` of the samples lie. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

export const median = (samples: readonly number[]): number => percentile(samples, 0.5);

/** Prints the table, and writes it as JSON with what is known of the host. */
export function report(rows: readonly Row[], facts: Readonly<Record<string, unknown>>, path: string): void {
  const format = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
  const lines = rows.map(({ name, value, unit, floor, aim }) => [
    name,
    `${format(value)} ${unit}`,
    floor === undefined ? "" : `${format(floor.value)} ${unit}`,
    floor === undefined ? "" : `${(value / floor.value).toFixed(2)}x`,
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
    cores: processors.length,
    memory_mib: Math.round(totalmem() / 1048576),
    kernel: release(),
    distribution,
    node: process.version,
  };
}
