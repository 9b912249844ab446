import { availableParallelism, cpus, release, totalmem } from "node:os";
import * as z from "zod";
import { complete, directoriesFor, thisBuild } from "../../kit/index.js";
import { DEFAULT_ENVIRONMENT } from "../curated.js";
import { field, isolation } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatTable } from "../text.js";
import { commandRows, crowdRows, firstRow, memoryRows, runRows, type BenchSubject } from "./measure.js";
import { benchRow, type BenchRow } from "./row.js";

const output = z.object({
  environment: z.string(),
  isolation: isolation.nullable(),
  at: z.string(),
  duration_ms: z.number(),
  host: z.object({
    cpu: z.string(),
    cores: z.number(),
    memory_mib: z.number(),
    kernel: z.string(),
    node: z.string(),
    qemu: z.string().nullable(),
    pyro: z.string(),
  }),
  rows: z.array(benchRow),
});

/** `pyro bench`: the short benchmark, through the SDK and the daemon alone. The long one is `make bench`. */
export const bench = defineOperation({
  name: "bench",
  command: ["bench"],
  summary: "Measure this host: each figure beside its floor",
  description:
    "Starts about 30 VMs, one after the other and up to 8 at once, and prints medians. Takes well under a minute on a " +
    "quiet host. A floor is what the same thing costs with as little of pyro in it as can be, in the same run.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    environment: field.environment().default(DEFAULT_ENVIRONMENT).describe("What the VMs run"),
    rounds: z.int().min(1).max(50).default(5).describe("Measurements of each kind; fewer on a slow host"),
  }),
  output,
  positionals: [],
  examples: [
    { command: "pyro bench", says: "a table" },
    { command: "pyro bench --json", says: "the same with facts of the host, to keep or to send" },
  ],
  run: async ({ environment, rounds }, { pyro, signal, onProgress }) => {
    const startedAt = performance.now();
    const subject = { pyro, environment, rounds, signal, command: ownCommand(pyro.stateDir) };
    const rows: BenchRow[] = [];
    for (const [index, { says, measure }] of GROUPS.entries()) {
      onProgress?.({ message: says, fraction: index / GROUPS.length });
      rows.push(...(await measure(subject)));
    }
    return {
      environment,
      isolation: (await pyro.daemonStatus({ signal })).isolation,
      at: new Date().toISOString(),
      duration_ms: Math.round(performance.now() - startedAt),
      host: await hostFacts(),
      rows,
    };
  },
  render: ({ isolation: chosen, host, rows }) => {
    const cells = rows.map(({ name, value, unit, floor, aim = "" }) => [
      name,
      `${figure(value)} ${unit}`,
      floor === undefined ? "" : `${figure(floor.value)} ${unit}`,
      floor === undefined || floor.value === 0 ? "" : `${(value / floor.value).toFixed(2)}x`,
      floor?.name ?? "",
      aim,
    ]);
    return [
      `${host.cpu}, ${host.cores} cores, ${host.memory_mib} MiB, Linux ${host.kernel}, node ${host.node}`,
      `QEMU ${host.qemu ?? "not found"}, isolation ${chosen ?? "unknown"}, pyro ${host.pyro}`,
      "",
      formatTable([["FIGURE", "MEDIAN", "FLOOR", "RATIO", "THE FLOOR IS", "AIM"], ...cells]),
    ].join("\n");
  },
});

const GROUPS: readonly {
  readonly says: string;
  readonly measure: (subject: BenchSubject) => Promise<BenchRow[]>;
}[] = [
  { says: "the first run", measure: async (subject) => [await firstRow(subject)] },
  { says: "one after the other", measure: runRows },
  { says: "the command line", measure: commandRows },
  { says: "several at once", measure: crowdRows },
  { says: "memory", measure: memoryRows },
];

const figure = (value: number): string => value.toFixed(value < 10 ? 1 : 0);

/** How this very build is typed; a state directory that is not the user's own has to be named. */
function ownCommand(stateDir: string): readonly string[] | undefined {
  const { mainPath } = thisBuild();
  if (mainPath === undefined) return undefined;
  const named = stateDir === directoriesFor().state ? [] : ["--state-dir", stateDir];
  return [process.execPath, mainPath, ...named];
}

async function hostFacts(): Promise<z.output<typeof output>["host"]> {
  return {
    cpu: cpus()[0]?.model ?? "",
    cores: availableParallelism(),
    memory_mib: Math.round(totalmem() / 1024 ** 2),
    kernel: release(),
    node: process.version,
    qemu: await qemuVersion(),
    pyro: thisBuild().version,
  };
}

async function qemuVersion(): Promise<string | null> {
  const printed = await complete("qemu-system-x86_64", ["--version"]).catch(() => undefined);
  return /version (\S+)/.exec(printed?.stdout ?? "")?.[1] ?? null;
}
