import { mkdir, mkdtemp, rm, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { EMPTY_SLOT, MACHINE_DISK_BYTES } from "../src/daemon/disks.js";
import { ImagesInUse } from "../src/daemon/images-in-use.js";
import { Machines } from "../src/daemon/machines.js";
import { Overlays } from "../src/daemon/overlay.js";
import { Templates } from "../src/daemon/templates.js";
import { connectGuest } from "../src/guest/index.js";
import { silentLogger, Slots } from "../src/kit/index.js";
import {
  QemuDriver,
  type Disk,
  type DiskSlot,
  type Isolation,
  type MountedImage,
  type RuntimeBundle,
} from "../src/vmm/index.js";

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
  /** The image that those lie on. */
  readonly environment: MountedImage;
  /** The disks that a run has: a fresh overlay on the environment's image, below the directory, and an empty slot. */
  readonly disks: (directory: string, begun?: Buffer) => Promise<(Disk | DiskSlot)[]>;
}

const shapeOf = (isolation: Isolation) => ({
  vcpuCount: 1,
  memMib: 1024,
  isolation,
  diskBytes: MACHINE_DISK_BYTES,
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
    ...{ machines, driver, overlays, inUse: new ImagesInUse(), log: silentLogger },
    directory: join(scratch, "templates"),
    bundle: () => Promise.resolve(bundle),
  });
  return {
    ...{ machines, templates, scratch, shape: shapeOf(isolation) },
    environment: { digest: basename(image), path: image, createdAtMs: (await stat(image)).mtimeMs },
    disks: async (directory, begun) => [
      await overlays.make({ path: image, format: "qcow2" }, join(directory, "root.qcow2"), begun),
      EMPTY_SLOT,
    ],
    [Symbol.asyncDispose]: async () => {
      await templates[Symbol.asyncDispose]();
      await machines[Symbol.asyncDispose]();
      await rm(scratch, { recursive: true, force: true });
    },
  };
}
