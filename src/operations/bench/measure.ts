import { complete } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import type { CommandResult, Pyro } from "../../sdk/index.js";
import { machinesOf, memoryOf } from "./processes.js";
import type { BenchRow } from "./row.js";
import { median, repeat, timed } from "./samples.js";

/** What is measured, and how often. */
export interface BenchSubject {
  readonly pyro: Pyro;
  readonly environment: string;
  readonly rounds: number;
  readonly signal?: AbortSignal | undefined;
  /** How pyro is typed: program and first arguments. Without it, nothing is said of the command line. */
  readonly command?: readonly string[] | undefined;
}

/** One group of rows takes no more than this, however slow the host: at least one sample each. */
const GROUP_BUDGET_MS = 12_000;
const SPAWNS = 40;
const AT_ONCE = [4, 8] as const;

function runTrue({ pyro, environment, signal }: BenchSubject): Promise<CommandResult> {
  return runInVm(pyro, { environment, argv: ["true"] }, signal);
}

async function runInVm(
  pyro: Pyro,
  options: Parameters<Pyro["runInVm"]>[0],
  signal: AbortSignal | undefined,
): Promise<CommandResult> {
  const result = await pyro.runInVm(options, { signal });
  if (result.exitCode === 0) return result;
  throw failed("the command in the VM", result.exitCode, result.stderr);
}

function failed(what: string, status: number | null, stderr: string): PyroError {
  const ending = status === null ? "by a signal" : `with status ${status}`;
  return new PyroError("INTERNAL", `${what} ended ${ending}: ${stderr.trim()}`, {
    hint: "`pyro doctor` examines this host",
  });
}

/** The first run; it may start the daemon and make the template, which all others then find. */
export async function firstRow(subject: BenchSubject): Promise<BenchRow> {
  const value = await timed(() => runTrue(subject));
  return { name: "the first run (daemon and template made where missing)", value, unit: "ms", samples: 1 };
}

/** One run after the other, through the SDK: machine, command, and what lies between. */
export async function runRows(subject: BenchSubject): Promise<BenchRow[]> {
  const machine: number[] = [];
  const command: number[] = [];
  const wall = await repeat(
    subject.rounds,
    () =>
      timed(async () => {
        const { startupMs, durationMs } = await runTrue(subject);
        machine.push(startupMs);
        command.push(durationMs);
      }),
    GROUP_BUDGET_MS,
  );
  const samples = wall.length;
  const own = await usualSpawnMs(subject);
  return [
    { name: "a VM, ready for its first command", value: median(machine), unit: "ms", samples },
    {
      name: "first exec of true in a fresh VM",
      ...{ value: median(command), unit: "ms", samples },
      floor: { name: "the guest's usual fork+exec, by its shell", value: own },
    },
    {
      name: "run of true by the SDK",
      ...{ value: median(wall), unit: "ms", samples },
      floor: { name: "that VM + that exec", value: median(machine) + median(command) },
    },
  ];
}

/** What fork+exec costs in a guest that has done it before: one shell starts many, less the shell itself. */
async function usualSpawnMs({ pyro, environment, signal }: BenchSubject): Promise<number> {
  const loop = (count: number) => `i=0; while [ $i -lt ${count} ]; do /bin/true; i=$((i+1)); done`;
  const took = async (count: number): Promise<number> =>
    (await runInVm(pyro, { environment, command: loop(count) }, signal)).durationMs;
  const bare = await took(1);
  return Math.max(0, (await took(SPAWNS + 1)) - bare) / SPAWNS;
}

/** What a person at the terminal waits for, in turns with a bare Node. */
export async function commandRows(subject: BenchSubject): Promise<BenchRow[]> {
  const { command, environment, rounds } = subject;
  if (command === undefined) return [];
  const node: number[] = [];
  const start: number[] = [];
  const parts: number[] = [];
  const run = await repeat(
    rounds,
    async () => {
      node.push(await program([process.execPath, "-e", "0"], subject.signal));
      start.push(await program([...command, "--version"], subject.signal));
      const { startupMs, durationMs } = await runTrue(subject);
      parts.push(startupMs + durationMs);
      return await program([...command, "run", environment, "--", "true"], subject.signal);
    },
    GROUP_BUDGET_MS,
  );
  const samples = run.length;
  const bare = { name: "node -e 0", value: median(node) };
  return [
    { name: bare.name, value: bare.value, unit: "ms", samples },
    {
      name: "pyro --version",
      ...{ value: median(start), unit: "ms", samples },
      floor: bare,
      aim: "floor + 60 ms",
    },
    {
      name: `pyro run ${environment} -- true`,
      ...{ value: median(run), unit: "ms", samples },
      floor: { name: "node + a VM + an exec", value: bare.value + median(parts) },
      aim: "floor + 120 ms",
    },
  ];
}

async function program(
  [name = "", ...args]: readonly string[],
  signal: AbortSignal | undefined,
): Promise<number> {
  return await timed(async () => {
    const { code, stderrTail } = await complete(name, args, {
      stderr: "pipe",
      ...(signal === undefined ? {} : { signal }),
    });
    if (code !== 0) throw failed(args.join(" "), code, stderrTail);
  });
}

/** Several VMs asked for in the same moment; all of them must come. */
export async function crowdRows(subject: BenchSubject): Promise<BenchRow[]> {
  const alone: number[] = [];
  for (let round = 0; round < 3; round += 1) alone.push((await runTrue(subject)).startupMs);
  const floor = { name: "one alone", value: median(alone) };
  const rows: BenchRow[] = [];
  for (const count of AT_ONCE) {
    const results = await Promise.all(Array.from({ length: count }, () => runTrue(subject)));
    const value = median(results.map(({ startupMs }) => startupMs));
    const name = `a VM, ${count} at once (all came): median`;
    rows.push({ name, value, unit: "ms", samples: count, floor, ...(count === 8 ? { aim: "3x" } : {}) });
  }
  return rows;
}

const NODE_MEMORY = "process.stdout.write(String(process.memoryUsage().rss))";

/** What a VM and the daemon take; nothing of a VM where its process is not ours to look at. */
export async function memoryRows(subject: BenchSubject): Promise<BenchRow[]> {
  const mib = (bytes: number): number => bytes / 1024 ** 2;
  const rows: BenchRow[] = [];
  const sizes = await sizesOfMachines(subject, 2);
  if (sizes.length > 0) {
    const name = "private memory of a VM after an exec";
    rows.push({ name, value: median(sizes), unit: "MiB", samples: sizes.length });
  }
  const { residentBytes } = await subject.pyro.daemonStatus({ signal: subject.signal });
  const bare = await complete(process.execPath, ["-e", NODE_MEMORY]);
  rows.push({
    name: "resident memory of the daemon",
    ...{ value: mib(residentBytes ?? 0), unit: "MiB", samples: 1 },
    floor: { name: "node -e 0", value: mib(Number(bare.stdout)) },
  });
  return rows;
}

async function sizesOfMachines(
  { pyro, environment, signal }: BenchSubject,
  count: number,
): Promise<number[]> {
  const streams = [];
  try {
    for (let index = 0; index < count; index += 1) {
      const stream = pyro.streamInVm({ environment, command: "echo up; sleep 60" }, { signal });
      const events = stream[Symbol.asyncIterator]();
      streams.push(events);
      for (;;) {
        const next = await events.next();
        if (next.done === true || next.value.type === "stdout" || next.value.type === "result") break;
      }
    }
    return machinesOf(pyro.stateDir).flatMap((pid) => sizeOf(pid));
  } finally {
    for (const events of streams) await events.return?.();
  }
}

function sizeOf(pid: number): number[] {
  try {
    return [memoryOf(pid).privateMib];
  } catch {
    return [];
  }
}
