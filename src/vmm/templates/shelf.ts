import { chmod, lstat, mkdir, open, readdir, rename, rm, stat, statfs, utimes } from "node:fs/promises";
import { join } from "node:path";
import {
  failpoint,
  freshId,
  sleep,
  syncDirectory,
  tryLock,
  type FileLock,
  type Logger,
} from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import type { TemplateShape } from "./key.js";
import { filesOf, isComplete, manifestPath, readManifest } from "./manifest.js";

/**
 * So many templates stand on the disk: twice what is in memory, so that a daemon that starts anew finds the shapes of
 * the last days. Each occupies 75 to 105 MB.
 */
export const TEMPLATES_MAX = 8;

const MIB = 1024 ** 2;
/** What a fresh machine uses of its memory, with some slack: a build on a disk with less ends by SIGBUS. */
const ROOM_MIB = 384;
/** Of a directory in which a build works, or that is being replaced; what is left of one the next daemon removes. */
const UNFINISHED = "making";
const LOCK_POLL_MS = 50;

/**
 * The directory of the templates, one below it for each, named by its key. Whoever changes it holds its lock. When a
 * template was last used stands in its manifest's mtime, as far as it is not in memory.
 */
export class TemplateShelf {
  constructor(
    readonly directory: string,
    private readonly log: Logger,
  ) {}

  /** Where the template of the key stands, or would. */
  pathOf(key: string): string {
    return join(this.directory, key);
  }

  /** Removes what an earlier daemon left unfinished. */
  async sweep(): Promise<void> {
    for (const name of await this.#names()) {
      if (name.startsWith(`${UNFINISHED}-`)) await this.remove(join(this.directory, name));
    }
  }

  /**
   * One builder at a time on this cache; the kernel ends the lock with its process.
   * @throws {PyroError} TEMPLATE_NOT_PRIVATE; the signal's reason
   */
  async lock(signal: AbortSignal): Promise<FileLock> {
    for (;;) {
      const lock = await this.tryLock();
      if (lock !== undefined) return lock;
      await sleep(LOCK_POLL_MS, signal);
    }
  }

  /**
   * The same for somebody who would rather do without than wait: undefined where another has it.
   * @throws {PyroError} TEMPLATE_NOT_PRIVATE
   */
  async tryLock(): Promise<FileLock | undefined> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    await ownDirectory(this.directory);
    return await tryLock(join(this.directory, "lock"));
  }

  /**
   * The directory of the key's template, if there is one.
   * @throws {PyroError} TEMPLATE_NOT_PRIVATE
   */
  async find(key: string): Promise<string | undefined> {
    const path = this.pathOf(key);
    return (await ownDirectory(path)) === "own" ? path : undefined;
  }

  /**
   * A new directory for a template that is being made, with the sparse file of its memory.
   * @throws {PyroError} DISK_FULL
   */
  async begin({ memMib }: TemplateShape): Promise<string> {
    await requireRoom(this.directory, memMib);
    const path = join(this.directory, freshId(UNFINISHED));
    try {
      await mkdir(path, { mode: 0o700 });
      await using memory = await open(filesOf(path).memoryFile, "wx", 0o600);
      await memory.truncate(memMib * MIB);
      return path;
    } catch (error) {
      await this.remove(path);
      throw error;
    }
  }

  /**
   * Makes an unfinished directory the template of the key, in place of what stands there. That is whole until the
   * moment it is moved aside, under a name that the next daemon removes.
   */
  async place(unfinished: string, key: string): Promise<void> {
    const path = this.pathOf(key);
    const aside = await this.#setAside(path);
    failpoint("template.aside");
    try {
      await rename(unfinished, path);
    } catch (error) {
      if (aside !== undefined) await rename(aside, path);
      throw error;
    }
    await syncDirectory(this.directory);
    failpoint("template.replaced");
    if (aside !== undefined) await this.remove(aside);
  }

  /** Notes when a template was last used; one that is gone needs no note. */
  async touch(key: string, usedAtMs: number): Promise<void> {
    const at = usedAtMs / 1000;
    await utimes(manifestPath(this.pathOf(key)), at, at).catch(() => undefined);
  }

  /** Whether a template of the key stands here, as far as can be told without reading its files. */
  async has(key: string): Promise<boolean> {
    const directory = await this.find(key);
    if (directory === undefined) return false;
    const manifest = await readManifest(directory);
    return manifest?.key === key && (await isComplete(directory, manifest));
  }

  /** Keys of templates of the shape that rest on what this host no longer has, such as an older QEMU or bundle. */
  async stale(key: string, shape: string): Promise<string[]> {
    const found = [];
    for (const name of await this.#keys()) {
      const manifest = await readManifest(this.pathOf(name)).catch(() => undefined);
      if (name !== key && (manifest === undefined || manifest.shape === shape)) found.push(name);
    }
    return found;
  }

  /** Keys of templates with an environment mounted whose image does not stand any more. */
  async orphans(stands: (image: string) => Promise<boolean>): Promise<string[]> {
    const found = [];
    for (const key of await this.#keys()) {
      const image = (await readManifest(this.pathOf(key)).catch(() => undefined))?.image;
      if (image !== undefined && !(await stands(image))) found.push(key);
    }
    return found;
  }

  /**
   * Keys of templates beyond TEMPLATES_MAX, those that were not used for the longest time. `usedAtMs` knows better of
   * those that are in memory.
   */
  async surplus(usedAtMs: (key: string) => number | undefined): Promise<string[]> {
    const uses = [];
    for (const key of await this.#keys()) {
      const facts = await stat(manifestPath(this.pathOf(key))).catch(() => undefined);
      uses.push({ key, at: Math.max(facts?.mtimeMs ?? 0, usedAtMs(key) ?? 0) });
    }
    const newestFirst = uses.sort((one, other) => other.at - one.at);
    return newestFirst.slice(TEMPLATES_MAX).map(({ key }) => key);
  }

  async remove(path: string): Promise<void> {
    await rm(path, { recursive: true, force: true }).catch((error: unknown) => {
      this.log.error("template.remove", { directory: path, error: PyroError.from(error).message });
    });
  }

  /** Gives what stands there an unfinished one's name; undefined where nothing does. */
  async #setAside(path: string): Promise<string | undefined> {
    const aside = join(this.directory, freshId(UNFINISHED));
    try {
      await rename(path, aside);
      return aside;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  async #keys(): Promise<string[]> {
    return (await this.#names()).filter((name) => /^[0-9a-f]{64}$/.test(name));
  }

  async #names(): Promise<string[]> {
    return await readdir(this.directory).catch(() => []);
  }
}

/** The machine is gone: its files are ours again, durable, and change no more. */
export async function seal(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await using file = await open(path, "r");
    const us = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0] as const;
    if ((await file.stat()).uid !== us[0]) await file.chown(...us);
    await file.sync();
    await chmod(path, 0o400);
  }
}

/**
 * Whether the directory is there; nobody else may have made it, or be able to write into it.
 * @throws {PyroError} TEMPLATE_NOT_PRIVATE
 */
async function ownDirectory(path: string): Promise<"own" | "missing"> {
  const facts = await lstat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  });
  if (facts === undefined) return "missing";
  const us = process.geteuid?.();
  if (facts.isDirectory() && facts.uid === us && (facts.mode & 0o022) === 0) return "own";
  const mode = (facts.mode & 0o7777).toString(8).padStart(4, "0");
  const what = facts.isDirectory() ? "belongs to or can be written by others" : "is no directory";
  throw new PyroError("TEMPLATE_NOT_PRIVATE", `${path} ${what} (owner ${facts.uid}, mode ${mode})`, {
    hint: `machines start without a template until it is gone: \`rm -r ${path}\``,
    details: { path, owner: facts.uid, mode },
  });
}

async function requireRoom(directory: string, memMib: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const needed = Math.min(memMib, ROOM_MIB) * MIB;
  if (bavail * bsize >= needed) return;
  const free = Math.floor((bavail * bsize) / MIB);
  throw new PyroError(
    "DISK_FULL",
    `a memory template needs ${needed / MIB} MiB in ${directory}, ${free} are free`,
    { hint: "free some space (`pyro env prune` removes what nothing uses)", retryable: true },
  );
}
