import { failpoint, type Logger } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import { holdMachine, type Holder } from "../memory/holder.js";
import { HeldTemplates, type HeldTemplate, type Template } from "./held.js";
import { plainShape, shapeName, templateKey, type TemplateGround, type TemplateShape } from "./key.js";
import { layerDifference, readLayer } from "./layer.js";
import {
  difference,
  filesOf,
  readManifest,
  writeManifest,
  type TemplateFiles,
  type TemplateManifest,
} from "./manifest.js";
import { SharedWork } from "./shared-work.js";
import { seal, TemplateShelf } from "./shelf.js";

export interface TemplateStoreOptions {
  /** One directory per template below it. */
  readonly directory: string;
  /** pyro-hold of the runtime bundle. */
  readonly holderPath: () => Promise<string>;
  /** What a template of the shape rests on now. */
  readonly ground: (shape: TemplateShape) => Promise<TemplateGround>;
  /**
   * Starts a machine of the shape whose memory begins as `memoryFile` (which exists, sparse, with its size), saves it into
   * both files and ends it. Where an environment is to be mounted, the machine goes on from `base`, a template of the shape
   * without one, and its root's layer is `layerFile`.
   */
  readonly build: (
    shape: TemplateShape,
    files: TemplateFiles,
    signal: AbortSignal,
    base: Template | undefined,
  ) => Promise<void>;
  readonly log: Logger;
}

/** What stands for a shape: a template that serves it, only such as do not any more, or none. */
export type TemplateReadiness = "warm" | "stale" | "cold";

/** After so many restores of one template that failed, and for so long after a build that failed, none is tried. */
const FAILED_RESTORES_MAX = 2;
const REST_MS = 60_000;

/** What a template is called, and what its machines are saved as. */
type Names = Pick<HeldTemplate, "key" | "savedAs">;

interface Obtained {
  readonly held: HeldTemplate;
  readonly fresh: boolean;
}

/**
 * Memory templates: made where they are missing, and proven whole, once in each daemon's life, before any machine
 * starts from them: the holder copies them into sealed memory and tells the digest of what it copied. From then on the
 * files do not matter. A template of another QEMU, bundle or host has another key, and is removed when its successor
 * stands. What all of them occupy is bounded: HELD_MAX in memory, TEMPLATES_MAX on the disk.
 */
export class TemplateStore implements AsyncDisposable {
  readonly #shelf: TemplateShelf;
  readonly #held: HeldTemplates;
  readonly #work = new SharedWork<Obtained>();
  /** Of those that take one which stands, and make none. */
  readonly #finding = new SharedWork<Obtained | undefined>();
  readonly #failedRestores = new Map<string, number>();
  readonly #resting = new Map<string, { until: number; error: unknown }>();

  constructor(private readonly options: TemplateStoreOptions) {
    const shelf = new TemplateShelf(options.directory, options.log);
    this.#shelf = shelf;
    this.#held = new HeldTemplates((key, usedAtMs) => shelf.touch(key, usedAtMs));
  }

  /** Removes what an earlier daemon left unfinished. */
  async sweep(): Promise<void> {
    await this.#shelf.sweep();
  }

  /**
   * The template for the shape; made where there is no good one. All who ask at once wait for the same; when nobody
   * waits any more, a build ends. What failed a moment ago is not tried again.
   * @throws {PyroError} TEMPLATE_NOT_PRIVATE, DISK_FULL, VM_SAVE_FAILED and what a boot throws; the signal's reason
   */
  async require(shape: TemplateShape, signal: AbortSignal): Promise<Template> {
    const names = await this.#namesOf(shape);
    const { key } = names;
    const resting = this.#resting.get(key);
    if (resting !== undefined && resting.until > performance.now() && this.#held.find(key) === undefined)
      throw resting.error;
    return await this.#lend(names, shape, false, signal);
  }

  /**
   * The template for the shape where a good one stands, for somebody who can do without: none is made, and nobody is
   * waited for who makes one.
   * @throws {PyroError} TEMPLATE_NOT_PRIVATE, MEMORY_FULL; the signal's reason
   */
  async find(shape: TemplateShape, signal: AbortSignal): Promise<Template | undefined> {
    const names = await this.#namesOf(shape);
    const { key } = names;
    const held = this.#held.find(key);
    const template = held === undefined ? undefined : this.#held.lend(held, false);
    if (template !== undefined || (await this.#shelf.find(key)) === undefined) return template;
    const found = await this.#finding.join(key, signal, async (workSignal) => {
      await using lock = await this.#shelf.tryLock();
      return lock === undefined ? undefined : await this.#load(names, shape, workSignal);
    });
    return found === undefined ? undefined : this.#held.lend(found.held, false);
  }

  /**
   * The same for somebody who asks for the template itself: tried whatever failed before and, with `anew`, made even
   * where a good one stands.
   */
  async prepare(shape: TemplateShape, anew: boolean, signal: AbortSignal): Promise<Template> {
    return await this.#lend(await this.#namesOf(shape), shape, anew, signal);
  }

  /**
   * Whether a machine of the shape would start from a template: "warm" where one stands that fits what this host has
   * now, "stale" where only others of the shape do, such as one of an older QEMU. Reads no more than manifests; a
   * template that was damaged under a good manifest is found by its first use.
   * @throws {PyroError} TEMPLATE_NOT_PRIVATE; what the ground of the shape cannot be found by
   */
  async readiness(shape: TemplateShape): Promise<TemplateReadiness> {
    const key = await this.keyOf(shape);
    if (this.#held.find(key) !== undefined || (await this.#shelf.has(key))) return "warm";
    return (await this.#shelf.stale(key, shapeName(shape))).length > 0 ? "stale" : "cold";
  }

  /**
   * Removes a template that a machine could not be restored from, given back by that; the next one who asks makes it
   * anew, for a while.
   */
  async discard(template: Template, error: PyroError): Promise<void> {
    const { key } = template;
    const current = this.#held.holds(template);
    template[Symbol.dispose]();
    // Otherwise somebody else who failed with it was here before, and what stands there now is its successor.
    if (!current) return;
    const failures = (this.#failedRestores.get(key) ?? 0) + 1;
    this.#failedRestores.set(key, failures);
    if (failures >= FAILED_RESTORES_MAX) this.#rest(key, error);
    await this.#remove(key);
    this.options.log.warn("template.discarded", { key, failures, code: error.code, reason: error.message });
  }

  /** Names what a machine of the shape is saved as now, and what it can go on from. */
  async keyOf(shape: TemplateShape): Promise<string> {
    return templateKey(shape, await this.options.ground(shape));
  }

  /**
   * Removes templates with an environment mounted whose image does not stand any more. Gives their keys.
   * @throws {PyroError} TEMPLATE_NOT_PRIVATE; the signal's reason
   */
  async removeOrphans(stands: (image: string) => Promise<boolean>, signal: AbortSignal): Promise<string[]> {
    if ((await this.#shelf.orphans(stands)).length === 0) return [];
    await using _lock = await this.#shelf.lock(signal);
    const keys = await this.#shelf.orphans(stands);
    for (const key of keys) await this.#remove(key);
    return keys;
  }

  /** Ends builds and holders; machines that were restored live on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#finding[Symbol.asyncDispose]();
    await this.#work[Symbol.asyncDispose]();
    await this.#held[Symbol.asyncDispose]();
  }

  async #namesOf(shape: TemplateShape): Promise<Names> {
    const ground = await this.options.ground(shape);
    return { key: templateKey(shape, ground), savedAs: templateKey(plainShape(shape), ground) };
  }

  async #lend(names: Names, shape: TemplateShape, anew: boolean, signal: AbortSignal): Promise<Template> {
    const { key } = names;
    for (;;) {
      const held = anew ? undefined : this.#held.find(key);
      const template = held === undefined ? undefined : this.#held.lend(held, false);
      if (template !== undefined) return template;
      const begin = (workSignal: AbortSignal) => this.#obtain(names, shape, anew, workSignal);
      const obtained = await this.#work.join(anew ? `${key} anew` : key, signal, begin);
      const lent = this.#held.lend(obtained.held, obtained.fresh);
      if (lent !== undefined) return lent;
      // HELD_MAX others were taken in before we came to have it: it stands on the disk now.
      anew = false;
    }
  }

  async #obtain(names: Names, shape: TemplateShape, anew: boolean, signal: AbortSignal): Promise<Obtained> {
    try {
      // Before the lock, which who makes that takes as well.
      using base = shape.mounted === undefined ? undefined : await this.require(plainShape(shape), signal);
      await using _lock = await this.#shelf.lock(signal);
      const found = anew ? undefined : await this.#load(names, shape, signal);
      const obtained = found ?? (await this.#make(names, shape, base, signal));
      this.#resting.delete(names.key);
      return obtained;
    } catch (error) {
      // Where it was to replace a good one, that one still stands.
      if (!signal.aborted && !anew) this.#rest(names.key, error);
      throw error;
    }
  }

  /** The template that stands on the shelf, if it is whole; the caller has the lock. */
  async #load(names: Names, shape: TemplateShape, signal: AbortSignal): Promise<Obtained | undefined> {
    const { key } = names;
    // Another who found it may have been here.
    const held = this.#held.find(key);
    if (held !== undefined) return { held, fresh: false };
    const directory = await this.#shelf.find(key);
    if (directory === undefined) return undefined;
    try {
      const manifest = await readManifest(directory);
      if (manifest?.key !== key) throw damaged(directory, "its manifest is missing or says something else");
      const layer = await provenLayer(directory, shape, manifest);
      const holder = await this.#prove(directory, manifest, signal);
      failpoint("restore.held");
      await this.#shelf.touch(key, Date.now());
      return { held: this.#keep(names, manifest, holder, layer), fresh: false };
    } catch (thrown) {
      signal.throwIfAborted();
      const error = PyroError.from(thrown);
      if (error.code !== "TEMPLATE_DAMAGED") throw error;
      this.options.log.warn("template.damaged", { key, code: error.code, reason: error.message });
      await this.#shelf.remove(directory);
      return undefined;
    }
  }

  async #prove(directory: string, manifest: TemplateManifest, signal: AbortSignal): Promise<Holder> {
    const holder = await holdMachine(await this.options.holderPath(), filesOf(directory), { signal });
    const wrong = difference(manifest, holder.digests);
    if (wrong === undefined) return holder;
    await holder[Symbol.asyncDispose]();
    throw damaged(directory, wrong);
  }

  async #make(
    names: Names,
    shape: TemplateShape,
    base: Template | undefined,
    signal: AbortSignal,
  ): Promise<Obtained> {
    const { key } = names;
    const startedAt = performance.now();
    const unfinished = await this.#shelf.begin(shape);
    let holder: Holder | undefined;
    try {
      const files = filesOf(unfinished);
      failpoint("template.building");
      await this.options.build(shape, files, signal, base);
      failpoint("template.saved");
      const { memoryFile, stateFile, layerFile } = files;
      const layerFiles = shape.mounted === undefined ? [] : [layerFile];
      await seal([memoryFile, stateFile, ...layerFiles]);
      failpoint("template.sealed");
      const [layer] = await Promise.all(layerFiles.map(readLayer));
      holder = await holdMachine(await this.options.holderPath(), files, { signal });
      const facts = { key, shape, buildMs: performance.now() - startedAt };
      const manifest = await writeManifest(unfinished, facts, { ...holder.digests, layer });
      failpoint("template.described");
      await this.#shelf.place(unfinished, key);
      failpoint("template.placed");
      const held = this.#keep(names, manifest, holder, layer);
      const { build_ms: ms, shape: name } = manifest;
      this.options.log.info("template.made", { key, shape: name, ms, bytes: held.usedBytes });
      await this.#makeRoom(key, name);
      return { held, fresh: true };
    } catch (error) {
      await holder?.[Symbol.asyncDispose]();
      await this.#shelf.remove(unfinished);
      throw error;
    }
  }

  #keep(
    names: Names,
    { build_ms: buildMs }: TemplateManifest,
    holder: Holder,
    layer: Buffer | undefined,
  ): HeldTemplate {
    const { memory, state } = holder.digests;
    const usedBytes = memory.usedBytes + state.usedBytes + (layer?.length ?? 0);
    const held = { ...names, holder, layer, buildMs, usedBytes };
    this.#held.keep(held);
    return held;
  }

  /** Removes what the new template succeeds, and what is too much on the disk. */
  async #makeRoom(successor: string, shape: string): Promise<void> {
    for (const key of await this.#shelf.stale(successor, shape)) {
      this.options.log.warn("template.stale", { key, shape, successor });
      await this.#remove(key);
    }
    for (const key of await this.#shelf.surplus((held) => this.#held.usedAtMs(held))) {
      this.options.log.info("template.surplus", { key });
      await this.#shelf.remove(this.#shelf.pathOf(key));
    }
  }

  async #remove(key: string): Promise<void> {
    await this.#held.retire(key);
    await this.#shelf.remove(this.#shelf.pathOf(key));
  }

  #rest(key: string, error: unknown): void {
    this.#resting.set(key, { until: performance.now() + REST_MS, error });
  }
}

/**
 * The layer of a template of the shape, where it has one.
 * @throws {PyroError} TEMPLATE_DAMAGED
 */
async function provenLayer(
  directory: string,
  { mounted }: TemplateShape,
  manifest: TemplateManifest,
): Promise<Buffer | undefined> {
  if (mounted === undefined) return undefined;
  const layer = await readLayer(filesOf(directory).layerFile).catch((error: unknown) => {
    throw damaged(directory, `its layer cannot be read: ${PyroError.from(error).message}`);
  });
  const wrong = layerDifference(manifest.layer, layer);
  if (wrong !== undefined) throw damaged(directory, wrong);
  return layer;
}

function damaged(directory: string, how: string): PyroError {
  return new PyroError("TEMPLATE_DAMAGED", `the memory template ${directory} is damaged: ${how}`, {
    hint: "it is made anew by itself",
    details: { directory },
  });
}
