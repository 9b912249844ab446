import { IMAGE_VIRTUAL_BYTES } from "../image/index.js";
import { complete } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { Disk, DiskLayer, DiskSlot } from "../vmm/index.js";

/** The disks of every machine that runs commands: its root, and a slot that shows a workspace's baseline once it is sealed. */
export const MACHINE_DISK_BYTES: readonly number[] = [IMAGE_VIRTUAL_BYTES, IMAGE_VIRTUAL_BYTES];

/** Where the root is among the disks, and where the slot is; the guest finds them as /dev/vda and /dev/vdb. */
export const ROOT_DISK = 0;
export const BASELINE_DISK = 1;

export const EMPTY_SLOT: DiskSlot = { format: "empty", virtualBytes: IMAGE_VIRTUAL_BYTES };

/**
 * A new writable layer over read-only ones, of the one size that all disks have. Both formats are stated; the guest
 * can forge neither.
 * @throws {PyroError} DISK_FULL, VM_START_FAILED
 */
export async function makeOverlay(backing: DiskLayer, path: string): Promise<Disk> {
  const overlay = ["-F", backing.format, "-b", backing.path, path, String(IMAGE_VIRTUAL_BYTES)];
  const args = ["create", "-q", "-f", "qcow2", ...overlay];
  const { code, stderrTail } = await complete("qemu-img", args);
  if (code !== 0) {
    const full = /No space left/i.test(stderrTail);
    throw new PyroError(
      full ? "DISK_FULL" : "VM_START_FAILED",
      `the machine's disk cannot be made: ${stderrTail.trim()}`,
      {
        hint: full
          ? "free some space (`pyro env prune`), then try again"
          : "`pyro doctor` examines this host",
        retryable: full,
      },
    );
  }
  return { path, format: "qcow2", readOnly: false, backing };
}
