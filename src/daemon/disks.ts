import { IMAGE_VIRTUAL_BYTES } from "../image/index.js";
import type { DiskSlot } from "../vmm/index.js";

/** The disks of every machine that runs commands: its root, and a slot that shows a workspace's baseline once it is sealed. */
export const MACHINE_DISK_BYTES: readonly number[] = [IMAGE_VIRTUAL_BYTES, IMAGE_VIRTUAL_BYTES];

/** Where the root is among the disks, and where the slot is; the guest finds them as /dev/vda and /dev/vdb. */
export const ROOT_DISK = 0;
export const BASELINE_DISK = 1;

export const EMPTY_SLOT: DiskSlot = { format: "empty", virtualBytes: IMAGE_VIRTUAL_BYTES };
