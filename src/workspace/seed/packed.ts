import {
  close,
  closeSync,
  constants,
  fstatSync,
  lstat,
  open,
  read,
  readlink,
  type BigIntStats,
} from "node:fs";
import { promisify } from "node:util";
import { encodeTarHeader, tarEntry, tarPadding, type TarEntry } from "../../kit/index.js";
import { errnoOf, seedChanged, sourceError } from "./errors.js";
import type { Found } from "./found.js";
import { shown } from "./path.js";
import type { SeedTally } from "./tally.js";

const openAsync = promisify(open);
const closeAsync = promisify(close);
const readAsync = promisify(read);
const lstatAsync = promisify(lstat);
const readlinkAsync = promisify(readlink) as (path: Buffer, encoding: "buffer") => Promise<Buffer>;

/** No link is followed, and opening a FIFO that took a file's place waits for nobody. */
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
/** Files up to here are read ahead of their turn, several at once. */
const SMALL_BYTES = 256 * 1024;
const CHUNK_BYTES = 256 * 1024;

/** One entry, ready to go out in its turn. */
export interface Packed {
  /** Its blocks, or a file that is too large to be read ahead of its turn. */
  readonly blocks: Buffer | LargeFile;
  /** Bytes of content. */
  readonly size: number;
  /** Of a file that has several names. */
  readonly shared?: SharedFile;
}

/** Which file it is, and the blocks that make it another name of an earlier entry. */
export interface SharedFile {
  readonly identity: string;
  readonly path: string;
  linkTo(first: string): Buffer;
}

/** How entries differ from what was found: without it, they are called as below the top, and are root's. */
export interface PackOptions {
  /** What a path of the source is called in the tar. */
  readonly rename?: (path: string) => string;
  readonly uid?: number;
  readonly gid?: number;
  /** Permission bits of files and directories alike. */
  readonly mode?: number;
}

/** Makes entries of what was found. Reading is the only thing it does to the source. */
export class Packer {
  readonly #tally: SeedTally;
  readonly #options: PackOptions;

  constructor(tally: SeedTally, options: PackOptions = {}) {
    this.#tally = tally;
    this.#options = options;
  }

  /** The entry of one thing; lets go of its directory. Undefined where the place of a file is a directory's now. */
  async pack(found: Found): Promise<Packed | undefined> {
    try {
      if (found.kind === "directory") {
        const stat = found.directory.stat();
        return { blocks: encodeTarHeader(this.#entry(found.path, "5", stat)), size: 0 };
      }
      if (found.kind === "link") return await this.#link(found);
      return await this.#file(found);
    } catch (error) {
      throw sourceError(found.path, error);
    } finally {
      await found.directory.release();
    }
  }

  async #link(found: Exclude<Found, { kind: "directory" }>): Promise<Packed> {
    const at = found.directory.child(found.name);
    const stat = await lstatAsync(at, { bigint: true });
    const target = await readlinkAsync(at, "buffer").catch((error: unknown) => {
      throw errnoOf(error) === "EINVAL" ? seedChanged(found.path, "became something else", error) : error;
    });
    const entry = { ...this.#entry(found.path, "2", stat), linkName: target.toString("latin1") };
    return { blocks: encodeTarHeader(entry), size: 0 };
  }

  async #file(found: Exclude<Found, { kind: "directory" }>): Promise<Packed | undefined> {
    let fd: number;
    try {
      fd = await openAsync(found.directory.child(found.name), FILE);
    } catch (error) {
      if (found.kind === "either" && errnoOf(error) === "ELOOP") return this.#link(found);
      throw error;
    }
    let keep = false;
    try {
      const stat = fstatSync(fd, { bigint: true });
      if (!stat.isFile()) {
        // A checkout's path may have become a directory; a listed file may not.
        if (found.kind === "either" && stat.isDirectory()) return undefined;
        throw seedChanged(found.path, "became something else");
      }
      const size = Number(stat.size);
      const header = encodeTarHeader({ ...this.#entry(found.path, "0", stat), size });
      keep = size > SMALL_BYTES;
      const blocks = keep
        ? new LargeFile(found.path, fd, stat, header, this.#tally)
        : await this.#small(found.path, fd, stat, header);
      return stat.nlink < 2n ? { blocks, size } : { blocks, size, shared: this.#shared(found.path, stat) };
    } finally {
      // The descriptor was only read from: closing it writes nothing and waits for nothing.
      if (!keep) closeSync(fd);
    }
  }

  #shared(path: string, stat: BigIntStats): SharedFile {
    return {
      identity: `${stat.dev}:${stat.ino}`,
      path,
      linkTo: (first) => {
        const linkName = this.#options.rename?.(first) ?? first;
        return encodeTarHeader({ ...this.#entry(path, "1", stat), linkName });
      },
    };
  }

  /** Owner and group become root's, or who is asked for: whoever owns it here is nobody there. */
  #entry(path: string, type: string, stat: BigIntStats): TarEntry {
    const { rename, uid = 0, gid = 0, mode } = this.#options;
    const name = rename?.(path) ?? path;
    const nanos = ((stat.mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
    return tarEntry(type === "5" ? `${name}/` : name, type, {
      ...{ uid, gid },
      mode: mode === undefined || type === "2" ? Number(stat.mode & 0o7777n) : mode,
      mtime: Number((stat.mtimeNs - nanos) / 1_000_000_000n),
      mtimeNanos: Number(nanos),
    });
  }

  async #small(path: string, fd: number, stat: BigIntStats, header: Buffer): Promise<Buffer> {
    const size = Number(stat.size);
    const end = header.length + size;
    // One byte more than it has to have, to see whether it grew.
    const block = Buffer.allocUnsafe(end + Math.max(1, tarPadding(size)));
    header.copy(block);
    let done = 0;
    while (done < size || size === 0) {
      const { bytesRead } = await readAsync(fd, block, header.length + done, size + 1 - done, done);
      done += bytesRead;
      if (bytesRead === 0 || size === 0) break;
    }
    compare(path, fd, stat, done, this.#tally);
    block.fill(0, end);
    return block.subarray(0, end + tarPadding(size));
  }
}

/** A file that is read when its turn has come. Whoever gets one closes it. */
export class LargeFile implements AsyncDisposable {
  #fd: number | undefined;
  readonly #path: string;
  readonly #stat: BigIntStats;
  readonly #header: Buffer;
  readonly #tally: SeedTally;

  constructor(path: string, fd: number, stat: BigIntStats, header: Buffer, tally: SeedTally) {
    this.#path = path;
    this.#fd = fd;
    this.#stat = stat;
    this.#header = header;
    this.#tally = tally;
  }

  /** Its header, content and padding. The next chunk is read while the last one is consumed. */
  async *chunks(): AsyncGenerator<Buffer, void, void> {
    yield this.#header;
    const size = Number(this.#stat.size);
    let next: Promise<Buffer> | undefined = this.#read(0);
    try {
      for (let done = 0; done < size;) {
        const chunk: Buffer = await (next ?? this.#read(done));
        next = undefined;
        if (chunk.length === 0) break;
        done += chunk.length;
        if (done < size) {
          next = this.#read(done);
          // It may fail while the consumer is busy; it is awaited in the next round.
          next.catch(() => undefined);
        }
        yield chunk;
      }
    } catch (error) {
      throw sourceError(this.#path, error);
    } finally {
      // Nothing may read from the descriptor's number once it is closed.
      await next?.catch(() => undefined);
    }
    compare(this.#path, this.#fd ?? -1, this.#stat, size, this.#tally);
    const padding = tarPadding(size);
    if (padding > 0) yield Buffer.alloc(padding);
  }

  async #read(from: number): Promise<Buffer> {
    const wanted = Math.min(CHUNK_BYTES, Number(this.#stat.size) - from);
    const buffer = Buffer.allocUnsafeSlow(wanted);
    const { bytesRead } = await readAsync(this.#fd ?? -1, buffer, 0, wanted, from);
    if (bytesRead === 0) throw seedChanged(this.#path, "became shorter");
    return bytesRead === wanted ? buffer : buffer.subarray(0, bytesRead);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#fd === undefined) return;
    const fd = this.#fd;
    this.#fd = undefined;
    await closeAsync(fd);
  }
}

/** Compares a file after it was read with what it was before: shorter is an error, other changes are warnings. */
function compare(path: string, fd: number, before: BigIntStats, bytesRead: number, tally: SeedTally): void {
  const after = fstatSync(fd, { bigint: true });
  const size = Number(before.size);
  if (bytesRead < size || after.size < before.size) throw seedChanged(path, "became shorter");
  if (bytesRead > size || after.size > before.size) {
    tally.warn(`${shown(path)} grew while it was read: cut at ${size} bytes, its size at first`);
  } else if (after.mtimeNs !== before.mtimeNs) {
    tally.warn(`${shown(path)} was written to while it was read: it may be partly old and partly new`);
  }
}
