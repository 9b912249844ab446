import { chmod, stat } from "node:fs/promises";
import { join } from "node:path";
import type { GuestConnection } from "../guest/index.js";
import type { Logger } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { CopiedPart } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import type { DiskLayer, Isolation } from "../vmm/index.js";
import { inBuilder, type BuilderMachine } from "./builder-vm.js";
import type { Machines } from "./machines.js";
import type { Overlays } from "./overlay.js";
import { NOTHING } from "./provision/index.js";

export interface DiskCopierOptions {
  readonly machines: Machines;
  readonly overlays: Overlays;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
  readonly log: Logger;
}

export interface DiskCopy {
  /** Nobody writes to it; its uppermost layer may be ours alone. */
  readonly source: DiskLayer;
  /** A disk of an empty file system. */
  readonly target: string;
  /** The image that the source lies on: what is the same there is not told. */
  readonly base: DiskLayer;
  /** Told of all that is copied, and of the content of what is not on the image. */
  readonly onPart?: (part: CopiedPart) => void;
  /** Bytes of files, and about how many there are. */
  readonly onProgress: (bytesDone: number, bytesTotal: number) => void;
  readonly signal: AbortSignal;
}

/** In the machine's own directory: what mounting the source writes to it is thrown away with the machine. */
const SCRATCH_LAYER = "scratch.qcow2";

/** Disks appear in the order in which they are attached. */
const TARGET_DEVICE = "/dev/vda";
const SOURCE_DEVICE = "/dev/vdb";
const BASE_DEVICE = "/dev/vdc";

/**
 * Copies the files of a disk into a fresh file system, in a machine of its own in which nothing of the disk runs. What was
 * deleted is not on the target, nor what was the disk's machine's own (guest/internal/builder/kept.go).
 * @throws {PyroError} ENVIRONMENT_BUILD_FAILED, GUEST_DISK_FULL, what the machine fails with, what `onPart` throws
 */
export async function copyDisk(
  { machines, overlays, isolation, log }: DiskCopierOptions,
  copy: DiskCopy,
): Promise<{ readonly entryCount: number }> {
  const { source, target, base, signal } = copy;
  // As root the machine runs as another user than ours; the directory above stays ours alone.
  await using _readable = await readableByAll(source.path);
  const machine: BuilderMachine = {
    ...{ machines, isolation, log },
    disks: async (directory) => [
      { path: target, format: "qcow2", readOnly: false, unflushed: true },
      await overlays.make(source, join(directory, SCRATCH_LAYER)),
      { ...base, readOnly: true },
    ],
  };
  return await inBuilder(machine, signal, (guest) => follow(guest, copy));
}

async function follow(
  guest: GuestConnection,
  { onPart, onProgress, signal }: DiskCopy,
): Promise<{ entryCount: number }> {
  const provided = NOTHING.files.map(({ path, appended }) => ({ path, appended }));
  const request = {
    ...{ sourceDevice: SOURCE_DEVICE, targetDevice: TARGET_DEVICE, baseDevice: BASE_DEVICE, provided },
  };
  const events = guest.builder.copyDisk({ ...request, withContent: onPart !== undefined }, { signal });
  for await (const { event } of events) {
    if (event.case === "part") onPart?.(event.value);
    else if (event.case === "progress")
      onProgress(Number(event.value.bytesDone), Number(event.value.bytesTotal));
    else if (event.case === "result") return { entryCount: Number(event.value.entryCount) };
  }
  throw new PyroError("GUEST_PROTOCOL_ERROR", "the copy of the disk ended without a result", {
    hint: "try again; if it stays, reinstall pyro: its runtime bundle may be damaged",
  });
}

async function readableByAll(path: string): Promise<AsyncDisposable> {
  const { mode } = await stat(path);
  if ((mode & 0o004) !== 0) return { [Symbol.asyncDispose]: () => Promise.resolve() };
  await chmod(path, 0o644);
  return { [Symbol.asyncDispose]: () => chmod(path, mode & 0o777).catch(() => undefined) };
}
