import { freshIdentity, setClock } from "../src/daemon/identity.js";
import type { BootedMachine } from "../src/daemon/machines.js";
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
  /** What the guest itself measures of its first mount, and of its first fork+exec, after a restore. */
  readonly mountMs: number;
  readonly firstExecMs: number;
  /** Private memory of a raw restore that answered, in MiB. */
  readonly memoryMib: number;
}

const never = new AbortController().signal;
const TRUE = "/bin/true";

/**
 * Starting machines from a memory template, in turns with the two floors of the same minute: a raw restore of the same
 * template, and the guest's own first fork+exec in a machine that was restored and mounted in the same way.
 */
export async function restoreRows(
  subject: Subject,
  rounds: number,
): Promise<{ rows: Row[]; floors: RestoreFloors }> {
  await using rig = await openRig(subject);
  const template = await rig.templates.prepare(rig.shape, never);
  const disks = await rig.disks(rig.scratch);
  const raw: RawRestore[] = [];
  const memory: number[] = [];
  const create: CreateSteps[] = [];
  const guest: GuestSteps[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const atAnswer = (pid: number): void => void memory.push(memoryOf(pid).privateMib);
    const { qemu, bundle } = subject;
    raw.push(await rawRestore(qemu, bundle, { ...rig.shape, disks }, template.saved, rig.scratch, atAnswer));
    create.push(await createAndRun(rig));
    guest.push(await guestAlone(rig));
  }
  const floors = {
    restoreMs: median(raw.map(({ answerMs }) => answerMs)),
    mountMs: median(guest.map(({ mountMs }) => mountMs)),
    firstExecMs: median(guest.map(({ execMs }) => execMs)),
    memoryMib: median(memory),
  };
  const built: Row[] = [
    { name: "template: build", value: template.buildMs, unit: "ms" },
    { name: "template: size", value: template.usedBytes / 1024 ** 2, unit: "MiB" },
  ];
  return { rows: [...built, ...rawRows(raw), ...createRows(create, guest, floors)], floors };
}

/** The steps from the request of a machine to the result of its first command, in ms. */
interface CreateSteps {
  readonly overlayMs: number;
  readonly helloMs: number;
  readonly mountMs: number;
  readonly clockMs: number;
  readonly execMs: number;
  readonly totalMs: number;
}

async function startMachine(rig: Rig): Promise<{ machine: BootedMachine; overlayMs: number }> {
  let overlayMs = 0;
  const machine = await rig.templates.start(
    {
      ...rig.shape,
      kind: "sandbox",
      disks: async (directory) => {
        const startedAt = performance.now();
        const disks = await rig.disks(directory);
        overlayMs = performance.now() - startedAt;
        return disks;
      },
    },
    never,
  );
  return { machine, overlayMs };
}

const mountRoot = ({ guest }: BootedMachine) =>
  guest.system.mountRoot({
    ...{ device: "/dev/vda", filesystem: "ext4", createWorkspace: true },
    identity: freshIdentity(),
  });

/** As a run does it, start to exit read. */
async function createAndRun(rig: Rig): Promise<CreateSteps> {
  const startedAt = performance.now();
  const { machine, overlayMs } = await startMachine(rig);
  await using _ = machine;
  const helloMs = performance.now() - startedAt;
  const mountMs = await timed(() => mountRoot(machine));
  const clockMs = await timed(() => setClock(machine.guest, never));
  const execMs = await timed(() => runTrue(machine));
  return { overlayMs, helloMs, mountMs, clockMs, execMs, totalMs: performance.now() - startedAt };
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

/** The same way up to the mounted root, then one fork+exec by the agent itself; mount and exec as the guest measured. */
async function guestAlone(rig: Rig): Promise<GuestSteps> {
  const startedAt = performance.now();
  await using machine = (await startMachine(rig)).machine;
  await machine.guest.system.ping({});
  const answerMs = performance.now() - startedAt;
  const { durationMs } = await mountRoot(machine);
  await setClock(machine.guest, never);
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
      name: "  then: identity and mount of the root",
      value: step((s) => s.mountMs),
      unit: ms,
      floor: { name: "the mount as the guest measures it", value: floors.mountMs },
    },
    { name: "  then: the clock", value: step((s) => s.clockMs), unit: ms },
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
    {
      name: "the same, with the mount counted in",
      value: step((s) => s.totalMs),
      unit: ms,
      floor: {
        name: "raw restore + own mount + own first fork+exec",
        value: floors.restoreMs + floors.mountMs + floors.firstExecMs,
      },
    },
  ];
}
