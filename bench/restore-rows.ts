import { mkdir, mkdtemp, open, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { Machines } from "../src/daemon/machines.js";
import { Templates } from "../src/daemon/templates.js";
import { giveIdentity } from "../src/daemon/identity.js";
import { connectGuest } from "../src/guest/index.js";
import { silentLogger, Slots } from "../src/kit/index.js";
import { QemuDriver, type Disk, type Isolation, type RuntimeBundle } from "../src/vmm/index.js";
import { rawRestore, type RawRestore } from "./raw-restore.js";
import { median, type Row } from "./report.js";

const DISK_BYTES = 16 * 1024 ** 3;

/** Starting machines from a memory template, beside a raw restore of the same template in the same minute. */
export async function restoreRows(
  qemu: string,
  bundle: RuntimeBundle,
  isolation: Isolation,
  rounds: number,
): Promise<Row[]> {
  const scratch = await mkdtemp(join(tmpdir(), "pyro-bench-restore-"));
  const vms = join(scratch, "vms");
  await mkdir(vms, { mode: 0o711 });
  const driver = new QemuDriver({ bundle: () => Promise.resolve(bundle) });
  const machines = new Machines({
    ...{ directory: vms, driver, log: silentLogger, slots: new Slots(availableParallelism()) },
    connect: (socket) => connectGuest(socket),
  });
  const templates = new Templates({
    ...{ machines, driver, log: silentLogger, directory: join(scratch, "templates") },
    bundle: () => Promise.resolve(bundle),
  });
  const never = new AbortController().signal;
  const shape = { vcpuCount: 1, memMib: 1024, isolation, diskBytes: [DISK_BYTES] };
  const raw: RawRestore[] = [];
  const ours: number[] = [];
  const identity: number[] = [];
  try {
    const template = await templates.prepare(shape, never);
    const disks = [await emptyDisk(join(scratch, "raw.disk"))];
    for (let round = 0; round < rounds; round += 1) {
      raw.push(await rawRestore(qemu, bundle, { ...shape, disks }, template.saved, scratch));
      const startedAt = performance.now();
      await using machine = await templates.start(
        { ...shape, kind: "one-shot", disks: async (own) => [await emptyDisk(join(own, "disk"))] },
        never,
      );
      ours.push(performance.now() - startedAt);
      const greetedAt = performance.now();
      await giveIdentity(machine.guest, never);
      identity.push(performance.now() - greetedAt);
    }
    const floor = { name: "raw restore to the agent's answer", value: median(raw.map((r) => r.answerMs)) };
    return [
      { name: "raw restore: spawn to QMP", value: median(raw.map((r) => r.greetingMs)), unit: "ms" },
      { name: "raw restore: state loaded", value: median(raw.map((r) => r.loadedMs)), unit: "ms" },
      { name: floor.name, value: floor.value, unit: "ms", aim: "120 ms" },
      { name: "restore to the agent's hello", value: median(ours), unit: "ms", floor, aim: "1.25x" },
      { name: "entropy, clock and identity", value: median(identity), unit: "ms" },
      { name: "template: build", value: template.buildMs, unit: "ms" },
      { name: "template: size", value: template.usedBytes / 1024 ** 2, unit: "MiB" },
    ];
  } finally {
    await templates[Symbol.asyncDispose]();
    await machines[Symbol.asyncDispose]();
    await rm(scratch, { recursive: true, force: true });
  }
}

async function emptyDisk(path: string): Promise<Disk> {
  await using file = await open(path, "w", 0o600);
  await file.truncate(DISK_BYTES);
  return { path, format: "raw", readOnly: false };
}
