import { parseArgs } from "node:util";
import { packagePath } from "../src/kit/index.js";
import { timed } from "../src/operations/bench/samples.js";
import { locateQemu, locateRuntimeBundle, type Isolation } from "../src/vmm/index.js";
import { abandon, ENVIRONMENT, openBenchState, type BenchState } from "./bench-state.js";
import { bootRows } from "./boot-rows.js";
import { cycleRows } from "./cycle-rows.js";
import { daemonRows } from "./daemon-rows.js";
import { guestRows } from "./guest-rows.js";
import { linkFloors } from "./link-floors.js";
import { memoryRows } from "./memory-rows.js";
import { networkRows } from "./network-rows.js";
import { poolRows } from "./pool-rows.js";
import { pullRows } from "./pull-rows.js";
import { rawMachine } from "./raw-machine.js";
import { report, type Row } from "./report.js";
import { restoreRows } from "./restore-rows.js";
import { openRig, type Subject } from "./rig.js";
import { snapshotRows } from "./snapshot-rows.js";
import { shellRows } from "./shell-rows.js";
import { startRows } from "./start-rows.js";
import { workspaceRows } from "./workspace-rows.js";

// The public benchmark: every figure stands beside a floor of the same run. `--short` takes fewer rounds.
const { values: options } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    /** Create/exec/delete cycles; default 200, with --short 20. */
    cycles: { type: "string" },
    /** The cycles use machines that waited ready. */
    pooled: { type: "boolean", default: false },
    /** Where the environment was pulled to; default: the user's own cache. */
    cache: { type: "string" },
    /** Only these groups, for example `--only restore,cycles`; start, pool and daemon bring restore with them, their floor. */
    only: { type: "string" },
    /** Rounds of the workspace group; default 3, with --short 1. */
    rounds: { type: "string" },
    json: { type: "string", default: packagePath("bench/results/latest.json") },
  },
});
const { short } = options;
const cycles = Number(options.cycles ?? (short ? 20 : 200));
if (!Number.isInteger(cycles) || cycles < 1) throw new Error(`--cycles ${cycles} is no count`);
const wanted = (group: string): boolean => options.only?.split(",").includes(group) ?? true;

const qemu = await locateQemu();
const bundle = await locateRuntimeBundle();
// Its daemons keep no pool, but where that is what is measured.
process.env["PYRO_POOL"] = "0";
await using state = await openBenchState(options.cache);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    abandon(state.stateDir);
    process.exit(130);
  });
}
const startedAt = performance.now();
const first = await group("first run", () => firstRun(state));
const subject: Subject = {
  ...{ qemu: qemu.path, bundle, image: state.image, directory: state.stateDir },
  isolation: first.isolation,
};
const rows: Row[] = [first.row];
/** Each group tells when it begins: the whole takes minutes. */
async function group<T>(name: string, work: () => Promise<T>): Promise<T> {
  console.error(`${Math.round((performance.now() - startedAt) / 1000)} s: ${name}`);
  return await work();
}

if (wanted("boot")) rows.push(...(await group("boot", () => bootRows(subject, short ? 3 : 7))));
if (["restore", "start", "daemon", "pool"].some(wanted)) {
  const { rows: restored, floors } = await group("restore", () => restoreRows(subject, short ? 5 : 20));
  rows.push(...restored);
  if (wanted("start")) rows.push(...(await group("start", () => startRows(state, floors, short ? 5 : 20))));
  if (wanted("pool")) rows.push(...(await group("pool", () => poolRows(state, floors, short ? 5 : 20))));
  if (wanted("daemon")) rows.push(...(await group("daemon", () => daemonRows(state, floors, short ? 1 : 5))));
}
if (wanted("guest")) rows.push(...(await group("guest", () => inOneMachine(subject, short ? 50 : 200))));
if (wanted("network")) rows.push(...(await group("network", () => networkRows(subject, short ? 50 : 200))));
if (wanted("workspace")) {
  const floors = await group("link", () => linkFloors(subject, short ? 50 : 200));
  const rounds = Number(options.rounds ?? (short ? 1 : 3));
  const load = { rounds, fileCount: short ? 2_000 : 10_000, largeMib: short ? 64 : 256 };
  rows.push(...(await group("workspace", () => workspaceRows(state, floors, load))));
}
if (wanted("snapshot")) rows.push(...(await group("snapshot", () => snapshotRows(state, short ? 3 : 10))));
if (wanted("memory")) rows.push(...(await group("memory", () => memoryRows(state, short ? 3 : 7))));
// Needs a registry's program on this host, so nobody gets it who does not ask.
if (options.only?.split(",").includes("pull") === true) {
  rows.push(...(await group("pull", () => pullRows(subject, short ? 3 : 9))));
}
if (wanted("cycles")) rows.push(...(await group("cycles", () => cycleRows(state, cycles, options.pooled))));

report(
  rows,
  {
    ...{ isolation: subject.isolation, qemu: qemu.version, runtime: bundle.version },
    guest_kernel: bundle.kernelRelease,
    ...{ short, duration_s: Math.round((performance.now() - startedAt) / 1000) },
  },
  options.json,
);

/** The very first run of a state directory: it starts a daemon, which makes the template. */
async function firstRun({ command }: BenchState): Promise<{ isolation: Isolation; row: Row }> {
  let printed = "";
  const value = await timed(async () => {
    printed = await command("run", ENVIRONMENT, "--json", "--", "true");
  });
  await command("daemon", "stop");
  const { isolation } = JSON.parse(printed) as { isolation: Isolation };
  return { isolation, row: { name: "pyro run, the first: makes the template", value, unit: "ms" } };
}

async function inOneMachine(of: Subject, megabytes: number): Promise<Row[]> {
  await using rig = await openRig(of);
  const disks = await rig.disks(rig.scratch);
  await using machine = await rawMachine(of, rig.shape.memMib, disks);
  await machine.guest.system.mountRoot({ device: "/dev/vda", filesystem: "ext4", createWorkspace: true });
  return [...(await guestRows(machine.guest, megabytes)), ...(await shellRows(machine.guest))];
}
