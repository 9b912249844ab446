import type { BootedMachine } from "../src/daemon/machines.js";
import { mountWithIdentity } from "../src/daemon/mounted-root.js";
import { startProcess } from "../src/guest/index.js";
import { memoryOf } from "../src/operations/bench/processes.js";
import { median, timed } from "../src/operations/bench/samples.js";
import { rawRestore, type RawRestore } from "./raw-restore.js";
import type { Row } from "./report.js";
import { openRig, type Rig, type Subject } from "./rig.js";

/** The floors of this run that other rows stand on, in ms (medians). */
export interface RestoreFloors {
  /** A raw restore, spawn to the agent's answer. */
  readonly restoreMs: number;
  /** What the guest itself measures of taking its identity, and of its first fork+exec, after a restore. */
  readonly mountMs: number;
  readonly firstExecMs: number;
  /** Private memory of a raw restore that answered, in MiB. */
  readonly memoryMib: number;
}

const never = new AbortController().signal;
const TRUE = "/bin/true";

/**
 * Starting machines from a memory template that has their environment mounted, in turns with the two floors of the same
 * minute: a raw restore of the same template, and the guest's own first fork+exec in a machine that was restored in the
 * same way. In turns with them also one from the template without, which a first use and a reset start from.
 */
export async function restoreRows(
  subject: Subject,
  rounds: number,
): Promise<{ rows: Row[]; floors: RestoreFloors }> {
  await using rig = await openRig(subject);
  using plain = await rig.templates.prepare(rig.shape, never);
  using template = await rig.templates.prepare({ ...rig.shape, mounted: rig.environment }, never);
  const disks = await rig.disks(rig.scratch, template.layer);
  const raw: RawRestore[] = [];
  const memory: number[] = [];
  const create: CreateSteps[] = [];
  const unmounted: CreateSteps[] = [];
  const guest: GuestSteps[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const atAnswer = (pid: number): void => void memory.push(memoryOf(pid).privateMib);
    const { qemu, bundle } = subject;
    raw.push(await rawRestore(qemu, bundle, { ...rig.shape, disks }, template.saved, rig.scratch, atAnswer));
    create.push(await createAndRun(rig, rig));
    guest.push(await guestAlone(rig));
    unmounted.push(await createAndRun(rig, {}));
  }
  const floors = {
    restoreMs: median(raw.map(({ answerMs }) => answerMs)),
    mountMs: median(guest.map(({ mountMs }) => mountMs)),
    firstExecMs: median(guest.map(({ execMs }) => execMs)),
    memoryMib: median(memory),
  };
  const built: Row[] = [
    { name: "template: build", value: plain.buildMs, unit: "ms" },
    { name: "template: size", value: plain.usedBytes / 1024 ** 2, unit: "MiB" },
    { name: "template with the environment mounted: build", value: template.buildMs, unit: "ms" },
    {
      name: "template with the environment mounted: size",
      value: template.usedBytes / 1024 ** 2,
      unit: "MiB",
    },
  ];
  const rows = [...built, ...rawRows(raw), ...createRows(create, guest, floors), ...unmountedRows(unmounted)];
  return { rows, floors };
}

/** The steps from the request of a machine to the result of its first command, in ms. */
interface CreateSteps {
  readonly overlayMs: number;
  readonly helloMs: number;
  readonly mountMs: number;
  readonly execMs: number;
  readonly totalMs: number;
}

/** With `environment` from the template that has it mounted. */
type From = Partial<Pick<Rig, "environment">>;

async function startMachine(
  rig: Rig,
  { environment }: From,
): Promise<{ machine: BootedMachine; overlayMs: number }> {
  let overlayMs = 0;
  const machine = await rig.templates.start(
    {
      ...rig.shape,
      kind: "sandbox",
      ...(environment === undefined ? {} : { environment }),
      disks: async (directory, begun) => {
        const startedAt = performance.now();
        const disks = await rig.disks(directory, begun);
        overlayMs = performance.now() - startedAt;
        return disks;
      },
    },
    never,
  );
  return { machine, overlayMs };
}

const mounted = ({ guest }: BootedMachine) => mountWithIdentity(guest, never);

/** As a run does it, start to exit read. */
async function createAndRun(rig: Rig, from: From): Promise<CreateSteps> {
  const startedAt = performance.now();
  const { machine, overlayMs } = await startMachine(rig, from);
  await using _ = machine;
  const helloMs = performance.now() - startedAt;
  const mountMs = await timed(() => mounted(machine));
  const execMs = await timed(() => runTrue(machine));
  return { overlayMs, helloMs, mountMs, execMs, totalMs: performance.now() - startedAt };
}

async function runTrue({ guest }: BootedMachine): Promise<void> {
  const spec = { processId: "first", argv: ["true"], env: ["PATH=/usr/bin:/bin"], cwd: "/" };
  const command = await startProcess(guest, spec);
  const output = command.output[Symbol.asyncIterator]();
  while ((await output.next()).done !== true);
  const { exitCode } = await command.exit;
  if (exitCode !== 0) throw new Error(`true ended with ${exitCode ?? "a signal"}`);
}

interface GuestSteps {
  readonly answerMs: number;
  readonly mountMs: number;
  readonly execMs: number;
}

/** The same way up to the identity, then one fork+exec by the agent itself; both as the guest measured. */
async function guestAlone(rig: Rig): Promise<GuestSteps> {
  const startedAt = performance.now();
  await using machine = (await startMachine(rig, rig)).machine;
  await machine.guest.system.ping({});
  const answerMs = performance.now() - startedAt;
  const durationMs = await mounted(machine);
  const { durationUs } = await machine.guest.diagnostics.spawnLoop({ argv: [TRUE], count: 1 });
  return { answerMs, mountMs: durationMs, execMs: (durationUs[0] ?? NaN) / 1000 };
}

function rawRows(raw: readonly RawRestore[]): Row[] {
  return [
    { name: "raw restore: spawn to QMP", value: median(raw.map((r) => r.greetingMs)), unit: "ms" },
    { name: "raw restore: state loaded", value: median(raw.map((r) => r.loadedMs)), unit: "ms" },
    {
      name: "raw restore to the agent's answer",
      value: median(raw.map((r) => r.answerMs)),
      unit: "ms",
      aim: "120 ms",
    },
  ];
}

function createRows(
  create: readonly CreateSteps[],
  guest: readonly GuestSteps[],
  floors: RestoreFloors,
): Row[] {
  const step = (of: (steps: CreateSteps) => number): number => median(create.map(of));
  const restore = { name: "raw restore to the agent's answer", value: floors.restoreMs };
  const ms = "ms" as const;
  return [
    {
      name: "template create to the agent's hello",
      value: step((s) => s.helloMs),
      unit: ms,
      floor: restore,
      aim: "1.25x",
    },
    {
      name: "template create to the agent's answer to a call",
      value: median(guest.map(({ answerMs }) => answerMs)),
      unit: ms,
      floor: restore,
      aim: "1.25x",
    },
    { name: "  of it: the disk", value: step((s) => s.overlayMs), unit: ms },
    {
      name: "  then: identity and clock, its root being mounted",
      value: step((s) => s.mountMs),
      unit: ms,
      floor: { name: "that as the guest measures it", value: floors.mountMs },
    },
    {
      name: "  then: first exec of true, start to exit read",
      value: step((s) => s.execMs),
      unit: ms,
      floor: { name: "the guest's own first fork+exec after a restore", value: floors.firstExecMs },
    },
    {
      name: "template create to first exec result",
      value: step((s) => s.totalMs),
      unit: ms,
      floor: { name: "raw restore + own first fork+exec", value: floors.restoreMs + floors.firstExecMs },
      aim: "1.25x",
    },
  ];
}

function unmountedRows(unmounted: readonly CreateSteps[]): Row[] {
  const step = (of: (steps: CreateSteps) => number): number => median(unmounted.map(of));
  return [
    { name: "from the template without, to first exec result", value: step((s) => s.totalMs), unit: "ms" },
    { name: "  of it: identity, clock and mount of the root", value: step((s) => s.mountMs), unit: "ms" },
    { name: "  of it: first exec of true", value: step((s) => s.execMs), unit: "ms" },
  ];
}
