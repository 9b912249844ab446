import { close, constants, fstatSync, open, readdir, type BigIntStats, type Dirent } from "node:fs";
import { promisify } from "node:util";
import { bytesOf, nameOf, parentOf } from "./path.js";

const openAsync = promisify(open);
const closeAsync = promisify(close);
const readdirAsync = promisify(readdir) as (
  path: Buffer,
  options: { encoding: "buffer"; withFileTypes: true },
) => Promise<Dirent<Buffer>[]>;

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NONBLOCK;
/** Directories kept open: one walks from one to its neighbour. */
const OPEN_DIRECTORIES = 64;

/** An open directory of the source. It stays open while somebody holds it. */
export class HostDirectory {
  holders = 0;
  closing = false;

  constructor(
    readonly path: string,
    readonly fd: number,
  ) {}

  /** A path that the kernel resolves from this very directory, wherever it has been moved to. */
  child(name: string): Buffer {
    return bytesOf(`/proc/self/fd/${this.fd}/${name}`);
  }

  stat(): BigIntStats {
    return fstatSync(this.fd, { bigint: true });
  }

  list(): Promise<Dirent<Buffer>[]> {
    return readdirAsync(bytesOf(`/proc/self/fd/${this.fd}`), { encoding: "buffer", withFileTypes: true });
  }

  hold(): this {
    this.holders += 1;
    return this;
  }

  async release(): Promise<void> {
    this.holders -= 1;
    if (this.closing && this.holders === 0) await closeAsync(this.fd);
  }

  /** Closes it now, or when its last holder lets go. */
  async retire(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    if (this.holders === 0) await closeAsync(this.fd);
  }
}

/**
 * A directory on the host and what lies below it. Each directory is opened from the one above it and never through a
 * link, so that whoever swaps parts of the tree meanwhile leads nobody out of it.
 */
export class HostTree implements AsyncDisposable {
  readonly #root: HostDirectory;
  readonly #open = new Map<string, HostDirectory>();

  private constructor(root: HostDirectory) {
    this.#root = root;
  }

  /** Opens the top; the path itself may be a link. Throws system errors. */
  static async open(path: string): Promise<HostTree> {
    return new HostTree(new HostDirectory("", await openAsync(path, DIRECTORY)));
  }

  /** A directory, held for the caller. Not to be called twice at once. Throws system errors. */
  async directory(path: string): Promise<HostDirectory> {
    if (path === "") return this.#root.hold();
    const known = this.#open.get(path);
    if (known !== undefined) {
      this.#open.delete(path);
      this.#open.set(path, known);
      return known.hold();
    }
    const parent = await this.directory(parentOf(path));
    try {
      const fd = await openAsync(parent.child(nameOf(path)), DIRECTORY | constants.O_NOFOLLOW);
      const opened = new HostDirectory(path, fd).hold();
      this.#open.set(path, opened);
      await this.#trim();
      return opened;
    } finally {
      await parent.release();
    }
  }

  async #trim(): Promise<void> {
    for (const [path, directory] of this.#open) {
      if (this.#open.size <= OPEN_DIRECTORIES) return;
      this.#open.delete(path);
      await directory.retire();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const directory of this.#open.values()) await directory.retire();
    this.#open.clear();
    await this.#root.retire();
  }
}
