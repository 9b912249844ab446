import { chmod, lstat, mkdir, open, readdir, rename, rm, statfs } from "node:fs/promises";
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
import type { SavedMachine } from "../driver.js";
import { holdTemplate, type Holder } from "./holder.js";
import { shapeName, templateKey, type TemplateGround, type TemplateShape } from "./key.js";
import { difference, filesOf, readManifest, writeManifest, type TemplateManifest } from "./manifest.js";
import { SharedWork } from "./shared-work.js";

export interface TemplateStoreOptions {
  /** One directory per template below it. */
  readonly directory: string;
  /** pyro-hold of the runtime bundle. */
  readonly holderPath: () => Promise<string>;
  /** What a template of the shape rests on now. */
  readonly ground: (shape: TemplateShape) => Promise<TemplateGround>;
  /**
   * Starts a machine of the shape on `memoryFile` (which exists, with its size), saves it into `stateFile` and ends
   * it.
   */
  readonly build: (shape: TemplateShape, files: SavedMachine, signal: AbortSignal) => Promise<void>;
  readonly log: Logger;
}

/** A template that machines of its shape are restored from: `saved` goes into `StartOptions.restore`. */
export interface Template {
  readonly key: string;
  readonly saved: SavedMachine;
  /** What it occupies, on the disk and once more in memory. */
  readonly usedBytes: number;
  /** What making it took, whenever that was. */
  readonly buildMs: number;
  /** Whether this daemon made it just now. */
  readonly fresh: boolean;
}

const MIB = 1024 ** 2;
/** What a fresh machine uses of its memory, with some slack: a build on a disk with less ends by SIGBUS. */
const ROOM_MIB = 384;
/** A directory in which a build works; what is left of one is removed by the next daemon. */
const UNFINISHED = "making-";
const LOCK_POLL_MS = 50;
/** After so many restores of one template that failed, and for so long after a build that failed, none is tried. */
const FAILED_RESTORES_MAX = 2;
const REST_MS = 60_000;

/**
 * Memory templates: made where they are missing, and proven whole, once in each daemon's life, before any machine
 * starts from them: the holder copies them into sealed memory and tells the digest of what it copied. From then on the
 * files do not matter. A template of another QEMU, bundle or host has another key, and is removed when its successor
 * stands.
 */
export class TemplateStore implements AsyncDisposable {
  readonly #held = new Map<string, { template: Template; holder: Holder }>();
  readonly #work = new SharedWork<Template>();
  readonly #failedRestores = new Map<string, number>();
  readonly #resting = new Map<string, { until: number; error: unknown }>();

  constructor(private readonly options: TemplateStoreOptions) {}

  /** Removes what an earlier daemon left unfinished. */
  async sweep(): Promise<void> {
    for (const name of await this.#entries()) {
      if (name.startsWith(UNFINISHED)) await this.#remove(join(this.options.directory, name));
    }
  }

  /**
   * The template for the shape; made where there is no good one. All who ask at once wait for the same; when nobody
   * waits any more, a build ends.
   * @throws {PyroError} TEMPLATE_NOT_PRIVATE, DISK_FULL, VM_SAVE_FAILED and what a boot throws; the signal's reason
   */
  async require(shape: TemplateShape, signal: AbortSignal): Promise<Template> {
    const key = templateKey(shape, await this.options.ground(shape));
    const held = this.#held.get(key);
    if (held?.holder.alive === true) return held.template;
    const resting = this.#resting.get(key);
    if (resting !== undefined && resting.until > performance.now()) throw resting.error;
    return await this.#work.join(key, signal, (workSignal) => this.#obtain(key, shape, workSignal));
  }

  /** Removes a template that a machine could not be restored from; the next one who asks makes it anew, for a while. */
  async discard({ key }: Template, error: PyroError): Promise<void> {
    const failures = (this.#failedRestores.get(key) ?? 0) + 1;
    this.#failedRestores.set(key, failures);
    if (failures >= FAILED_RESTORES_MAX) this.#rest(key, error);
    const held = this.#held.get(key);
    this.#held.delete(key);
    await held?.holder[Symbol.asyncDispose]();
    await this.#remove(join(this.options.directory, key));
    this.options.log.warn("template.discarded", { key, failures, code: error.code, reason: error.message });
  }

  /** Ends builds and holders; machines that were restored live on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#work[Symbol.asyncDispose]();
    await Promise.all([...this.#held.values()].map(({ holder }) => holder[Symbol.asyncDispose]()));
    this.#held.clear();
  }

  async #obtain(key: string, shape: TemplateShape, signal: AbortSignal): Promise<Template> {
    try {
      await prepareDirectory(this.options.directory);
      await using _lock = await takeLock(join(this.options.directory, "lock"), signal);
      return (await this.#load(key, signal)) ?? (await this.#make(key, shape, signal));
    } catch (error) {
      if (!signal.aborted) this.#rest(key, error);
      throw error;
    }
  }

  /** The template that stands in the store, if it is whole. */
  async #load(key: string, signal: AbortSignal): Promise<Template | undefined> {
    const directory = join(this.options.directory, key);
    if ((await ownDirectory(directory)) === "missing") return undefined;
    try {
      const manifest = await readManifest(directory);
      if (manifest?.key !== key) throw damaged(directory, "its manifest is missing or says something else");
      return await this.#hold(directory, manifest, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      const error = PyroError.from(thrown);
      if (error.code !== "TEMPLATE_DAMAGED") throw error;
      this.options.log.warn("template.damaged", { key, code: error.code, reason: error.message });
      await this.#remove(directory);
      return undefined;
    }
  }

  async #hold(directory: string, manifest: TemplateManifest, signal: AbortSignal): Promise<Template> {
    const holder = await holdTemplate(await this.options.holderPath(), filesOf(directory), signal);
    const wrong = difference(manifest, holder.digests);
    if (wrong !== undefined) {
      await holder[Symbol.asyncDispose]();
      throw damaged(directory, wrong);
    }
    failpoint("template.held");
    return this.#keep(manifest, holder, false);
  }

  async #make(key: string, shape: TemplateShape, signal: AbortSignal): Promise<Template> {
    const startedAt = performance.now();
    const { directory, log } = this.options;
    await requireRoom(directory, shape);
    const unfinished = join(directory, freshId(UNFINISHED.slice(0, -1)));
    let holder: Holder | undefined;
    try {
      await mkdir(unfinished, { mode: 0o700 });
      const files = filesOf(unfinished);
      await makeSparse(files.memoryFile, shape.memMib * MIB);
      failpoint("template.building");
      await this.options.build(shape, files, signal);
      failpoint("template.saved");
      for (const path of [files.memoryFile, files.stateFile]) await seal(path);
      holder = await holdTemplate(await this.options.holderPath(), files, signal);
      const facts = { key, shape: shapeName(shape), buildMs: performance.now() - startedAt };
      const manifest = await writeManifest(unfinished, facts, holder.digests);
      failpoint("template.described");
      await rename(unfinished, join(directory, key));
      await syncDirectory(directory);
      failpoint("template.placed");
      const template = this.#keep(manifest, holder, true);
      log.info("template.made", {
        key,
        shape: facts.shape,
        ms: manifest.build_ms,
        bytes: template.usedBytes,
      });
      await this.#removeStale(key, facts.shape);
      return template;
    } catch (error) {
      await holder?.[Symbol.asyncDispose]();
      await this.#remove(unfinished);
      throw error;
    }
  }

  #keep(manifest: TemplateManifest, holder: Holder, fresh: boolean): Template {
    const { memory, state } = holder.digests;
    const template: Template = {
      key: manifest.key,
      saved: holder.saved,
      usedBytes: memory.usedBytes + state.usedBytes,
      buildMs: manifest.build_ms,
      fresh: false,
    };
    this.#held.set(manifest.key, { template, holder });
    return { ...template, fresh };
  }

  /** Templates of the same shape that rest on what this host no longer has: an older QEMU or bundle. */
  async #removeStale(key: string, shape: string): Promise<void> {
    for (const name of await this.#entries()) {
      if (name === key || !/^[0-9a-f]{64}$/.test(name)) continue;
      const directory = join(this.options.directory, name);
      const manifest = await readManifest(directory).catch(() => undefined);
      if (manifest !== undefined && manifest.shape !== shape) continue;
      this.options.log.warn("template.stale", { key: name, shape, successor: key });
      await this.#held.get(name)?.holder[Symbol.asyncDispose]();
      this.#held.delete(name);
      await this.#remove(directory);
    }
  }

  #rest(key: string, error: unknown): void {
    this.#resting.set(key, { until: performance.now() + REST_MS, error });
  }

  async #entries(): Promise<string[]> {
    return await readdir(this.options.directory).catch(() => []);
  }

  async #remove(directory: string): Promise<void> {
    await rm(directory, { recursive: true, force: true }).catch((error: unknown) => {
      this.options.log.error("template.remove", { directory, error: PyroError.from(error).message });
    });
  }
}

/** One builder at a time on this cache; the kernel ends the lock with its process. */
async function takeLock(path: string, signal: AbortSignal): Promise<FileLock> {
  for (;;) {
    const lock = await tryLock(path);
    if (lock !== undefined) return lock;
    await sleep(LOCK_POLL_MS, signal);
  }
}

async function prepareDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await ownDirectory(path);
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

async function requireRoom(directory: string, { memMib }: TemplateShape): Promise<void> {
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

async function makeSparse(path: string, bytes: number): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.truncate(bytes);
  } finally {
    await file.close();
  }
}

/** The machine is gone: the file is ours again, durable, and changes no more. */
async function seal(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    const us = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0] as const;
    if ((await file.stat()).uid !== us[0]) await file.chown(...us);
    await file.sync();
  } finally {
    await file.close();
  }
  await chmod(path, 0o400);
}

function damaged(directory: string, how: string): PyroError {
  return new PyroError("TEMPLATE_DAMAGED", `the memory template ${directory} is damaged: ${how}`, {
    hint: "it is made anew by itself",
    details: { directory },
  });
}
