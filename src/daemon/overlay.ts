import { readFile, writeFile } from "node:fs/promises";
import { IMAGE_VIRTUAL_BYTES } from "../image/index.js";
import { complete } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { Disk, DiskLayer } from "../vmm/index.js";

/** An empty overlay is three tables of 64 KiB and a few bytes; what is larger is not kept. */
const MODEL_BYTES_MAX = 1024 * 1024;

/**
 * Writable layers over read-only images, of the one size that all disks have. Both formats are stated; the guest
 * can forge neither. qemu-img makes the first of each image; the others are that one's bytes (8 ms less, measured).
 */
export class Overlays {
  /** By the image's path, which names its content. */
  readonly #models = new Map<string, Buffer>();

  /** @throws {PyroError} DISK_FULL, VM_START_FAILED */
  async make(imagePath: string, path: string): Promise<Disk> {
    const model = this.#models.get(imagePath);
    const backing = { path: imagePath, format: "qcow2" } as const;
    if (model === undefined) {
      await makeOverlay(backing, path);
      const made = await readFile(path);
      if (made.length <= MODEL_BYTES_MAX) this.#models.set(imagePath, made);
    } else {
      await writeFile(path, model, { flag: "wx" }).catch((error: unknown) => {
        const { code, message } = error as NodeJS.ErrnoException;
        throw notMade(message, code === "ENOSPC" || code === "EDQUOT", error);
      });
    }
    return { path, format: "qcow2", readOnly: false, backing };
  }
}

/**
 * A new writable layer over read-only ones, of the one size that all disks have.
 * @throws {PyroError} DISK_FULL, VM_START_FAILED
 */
export async function makeOverlay(backing: DiskLayer, path: string): Promise<Disk> {
  const overlay = ["-F", backing.format, "-b", backing.path, path, String(IMAGE_VIRTUAL_BYTES)];
  const { code, stderrTail } = await complete("qemu-img", ["create", "-q", "-f", "qcow2", ...overlay]);
  if (code !== 0) throw notMade(stderrTail.trim(), /No space left/i.test(stderrTail));
  return { path, format: "qcow2", readOnly: false, backing };
}

function notMade(reason: string, full: boolean, cause?: unknown): PyroError {
  return new PyroError(
    full ? "DISK_FULL" : "VM_START_FAILED",
    `the machine's disk cannot be made: ${reason}`,
    {
      hint: full ? "free some space (`pyro env prune`), then try again" : "`pyro doctor` examines this host",
      retryable: full,
      cause,
    },
  );
}
