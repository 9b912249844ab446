import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import type { Disk, DiskLayer, DiskSlot, MachineSpec, SavedMachine } from "../driver.js";
import { PyroError } from "../../protocol/index.js";
import type { MemoryFile } from "./argv.js";

/** The first descriptor after stdin, stdout and stderr; the launcher hands the rest over in order. */
const FIRST_DESCRIPTOR = 3;
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
/** A qcow2 file is its data, its tables (under 1 %) and clusters lost in crashes; the rest is slack. */
const OVERHEAD_FACTOR = 1.25;
const SMALLEST_LIMIT_BYTES = GIB / 4;

/**
 * The files a machine reads and writes, opened here and handed to QEMU as descriptors that it opens anew by
 * /proc/self/fd/N. So the mode of the file decides, and no directory above it has to be open to QEMU's user.
 */
export class InheritedFiles implements AsyncDisposable {
  readonly #files: FileHandle[] = [];
  #largestBytes = 0;
  #memory: FileHandle | undefined;

  /** In the order the child receives them. */
  get descriptors(): number[] {
    return this.#files.map((file) => file.fd);
  }

  /** Bound for any file QEMU writes (RLIMIT_FSIZE). */
  get fileBytesLimit(): number {
    return Math.ceil(this.#largestBytes * OVERHEAD_FACTOR) + SMALLEST_LIMIT_BYTES;
  }

  /** Opens a file and gives its path in the child. */
  async readable(path: string): Promise<string> {
    await this.#open(path);
    return this.#lastPath();
  }

  /** Opens a disk and what lies below it; a writable one becomes the property of QEMU's user. */
  async disk(disk: Disk | DiskSlot, userId: number | undefined): Promise<Disk | DiskSlot> {
    if (disk.format === "empty") return disk;
    const file = await this.#open(disk.path);
    const path = this.#lastPath();
    if (!disk.readOnly) {
      if (userId !== undefined) await file.chown(userId, userId);
      this.#largestBytes = Math.max(this.#largestBytes, await virtualBytes(file, disk.format));
    }
    return { ...disk, path, ...(await this.#backingOf(disk)) };
  }

  async #backingOf({ backing }: DiskLayer): Promise<{ backing?: DiskLayer }> {
    if (backing === undefined) return {};
    const path = await this.readable(backing.path);
    return { backing: { ...backing, path, ...(await this.#backingOf(backing)) } };
  }

  /** Opens a file that QEMU reads through the descriptor itself, from its beginning, and gives the number. */
  async descriptor(path: string): Promise<number> {
    await this.#open(path);
    return this.#lastNumber();
  }

  /** The machine's RAM: the file it is, or the one its private copy begins with. A file it is stays open for `takeMemory`. */
  async memory(
    { memMib, memoryFile }: Pick<MachineSpec, "memMib" | "memoryFile">,
    saved: SavedMachine | undefined,
    userId: number | undefined,
  ): Promise<MemoryFile | undefined> {
    const path = memoryFile ?? saved?.memoryFile;
    if (path === undefined) return undefined;
    const file = await this.#open(path);
    const { size } = await file.stat();
    // QEMU maps what there is of a shorter file, and ends by SIGBUS where it touches the rest.
    if (size !== memMib * MIB) throw unusable(path, `has ${size} bytes instead of ${memMib} MiB`, undefined);
    const shared = memoryFile !== undefined;
    if (shared) {
      this.#memory = file;
      if (userId !== undefined) await file.chown(userId, userId);
      this.#largestBytes = Math.max(this.#largestBytes, size);
    }
    return { path: this.#lastPath(), shared };
  }

  /** The machine's own RAM, the caller's to close from now on; undefined where it has none. */
  takeMemory(): FileHandle | undefined {
    const memory = this.#memory;
    this.#memory = undefined;
    if (memory !== undefined) this.#files.splice(this.#files.indexOf(memory), 1);
    return memory;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#files.splice(0).map((file) => file.close()));
  }

  async #open(path: string): Promise<FileHandle> {
    let file: FileHandle;
    try {
      // NONBLOCK: a FIFO in the place of a disk must not stop us.
      file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      throw unusable(path, (error as NodeJS.ErrnoException).code ?? "?", error);
    }
    this.#files.push(file);
    const facts = await file.stat();
    if (!facts.isFile() && !facts.isBlockDevice())
      throw unusable(path, "neither a file nor a block device", undefined);
    return file;
  }

  #lastNumber(): number {
    return FIRST_DESCRIPTOR + this.#files.length - 1;
  }

  #lastPath(): string {
    return `/proc/self/fd/${this.#lastNumber()}`;
  }
}

/** The size the guest sees; a qcow2 header has it at offset 24 (docs/interop/qcow2.txt). */
async function virtualBytes(file: FileHandle, format: Disk["format"]): Promise<number> {
  if (format === "raw") return (await file.stat()).size;
  const header = Buffer.alloc(32);
  const { bytesRead } = await file.read(header, 0, header.length, 0);
  return bytesRead === header.length ? Number(header.readBigUInt64BE(24)) : 0;
}

function unusable(path: string, reason: string, cause: unknown): PyroError {
  return new PyroError("VM_START_FAILED", `the machine cannot use ${path}: ${reason}`, {
    hint: "was it removed while the machine started? try again; `pyro doctor` checks the rest",
    details: { path },
    cause,
  });
}
