import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Machines } from "../src/daemon/machines.js";
import { Overlays } from "../src/daemon/overlay.js";
import { Templates } from "../src/daemon/templates.js";
import { connectGuest } from "../src/guest/index.js";
import { IMAGE_VIRTUAL_BYTES } from "../src/image/layout.js";
import { silentLogger, Slots } from "../src/kit/index.js";
import { QemuDriver, type Disk, type Isolation, type RuntimeBundle } from "../src/vmm/index.js";

/** What is measured: one machine shape on one host. */
export interface Subject {
  readonly qemu: string;
  readonly bundle: RuntimeBundle;
  readonly isolation: Isolation;
  /** The environment's image. */
  readonly image: string;
  /** Everything that is started works below this directory: so it is found when the benchmark is interrupted. */
  readonly directory: string;
}

/** The daemon's own rooms without the daemon, in a directory of their own. */
export interface Rig extends AsyncDisposable {
  readonly machines: Machines;
  readonly templates: Templates;
  readonly shape: ReturnType<typeof shapeOf>;
  readonly scratch: string;
  /** A fresh overlay on the environment's image, below the directory: the disk that a run has. */
  readonly overlay: (directory: string) => Promise<Disk>;
}

const shapeOf = (isolation: Isolation) => ({
  vcpuCount: 1,
  memMib: 1024,
  isolation,
  diskBytes: [IMAGE_VIRTUAL_BYTES],
});

export async function openRig({ bundle, isolation, image, directory }: Subject): Promise<Rig> {
  const scratch = await mkdtemp(join(directory, "rig-"));
  const vms = join(scratch, "vms");
  await mkdir(vms, { mode: 0o711 });
  const overlays = new Overlays();
  const driver = new QemuDriver({ bundle: () => Promise.resolve(bundle) });
  const machines = new Machines({
    ...{ directory: vms, driver, log: silentLogger, slots: new Slots(availableParallelism()) },
    connect: (socket) => connectGuest(socket),
  });
  const templates = new Templates({
    ...{ machines, driver, log: silentLogger, directory: join(scratch, "templates") },
    bundle: () => Promise.resolve(bundle),
  });
  return {
    ...{ machines, templates, scratch, shape: shapeOf(isolation) },
    overlay: (directory) => overlays.make(image, join(directory, "root.qcow2")),
    [Symbol.asyncDispose]: async () => {
      await templates[Symbol.asyncDispose]();
      await machines[Symbol.asyncDispose]();
      await rm(scratch, { recursive: true, force: true });
    },
  };
}
