import { failpoint, type Logger } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import type { SavedMachine } from "../driver.js";
import { holdMachine, type Holder } from "../memory/holder.js";
import { HeldTemplates, type HeldTemplate, type Template } from "./held.js";
import { shapeName, templateKey, type TemplateGround, type TemplateShape } from "./key.js";
import { difference, filesOf, readManifest, writeManifest, type TemplateManifest } from "./manifest.js";
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
   * both files and ends it.
   */
  readonly build: (shape: TemplateShape, files: SavedMachine, signal: AbortSignal) => Promise<void>;
  readonly log: Logger;
}

/** What stands for a shape: a template that serves it, only such as do not any more, or none. */
export type TemplateReadiness = "warm" | "stale" | "cold";

/** After so many restores of one template that failed, and for so long after a build that failed, none is tried. */
const FAILED_RESTORES_MAX = 2;
const REST_MS = 60_000;

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
    const key = await this.keyOf(shape);
    const resting = this.#resting.get(key);
    if (resting !== undefined && resting.until > performance.now() && this.#held.find(key) === undefined)
      throw resting.error;
    return await this.#lend(key, shape, false, signal);
  }

  /**
   * The same for somebody who asks for the template itself: tried whatever failed before and, with `anew`, made even
   * where a good one stands.
   */
  async prepare(shape: TemplateShape, anew: boolean, signal: AbortSignal): Promise<Template> {
    return await this.#lend(await this.keyOf(shape), shape, anew, signal);
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
    await this.#held.retire(key);
    await this.#shelf.remove(this.#shelf.pathOf(key));
    this.options.log.warn("template.discarded", { key, failures, code: error.code, reason: error.message });
  }

  /** Names what a machine of the shape is saved as now, and what it can go on from. */
  async keyOf(shape: TemplateShape): Promise<string> {
    return templateKey(shape, await this.options.ground(shape));
  }

  /** Ends builds and holders; machines that were restored live on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#work[Symbol.asyncDispose]();
    await this.#held[Symbol.asyncDispose]();
  }

  async #lend(key: string, shape: TemplateShape, anew: boolean, signal: AbortSignal): Promise<Template> {
    for (;;) {
      const held = anew ? undefined : this.#held.find(key);
      const template = held === undefined ? undefined : this.#held.lend(held, false);
      if (template !== undefined) return template;
      const begin = (workSignal: AbortSignal) => this.#obtain(key, shape, anew, workSignal);
      const obtained = await this.#work.join(anew ? `${key} anew` : key, signal, begin);
      const lent = this.#held.lend(obtained.held, obtained.fresh);
      if (lent !== undefined) return lent;
      // HELD_MAX others were taken in before we came to have it: it stands on the disk now.
      anew = false;
    }
  }

  async #obtain(key: string, shape: TemplateShape, anew: boolean, signal: AbortSignal): Promise<Obtained> {
    try {
      await using _lock = await this.#shelf.lock(signal);
      const found = anew ? undefined : await this.#load(key, signal);
      const obtained = found ?? (await this.#make(key, shape, signal));
      this.#resting.delete(key);
      return obtained;
    } catch (error) {
      // Where it was to replace a good one, that one still stands.
      if (!signal.aborted && !anew) this.#rest(key, error);
      throw error;
    }
  }

  /** The template that stands on the shelf, if it is whole. */
  async #load(key: string, signal: AbortSignal): Promise<Obtained | undefined> {
    const directory = await this.#shelf.find(key);
    if (directory === undefined) return undefined;
    try {
      const manifest = await readManifest(directory);
      if (manifest?.key !== key) throw damaged(directory, "its manifest is missing or says something else");
      const holder = await this.#prove(directory, manifest, signal);
      failpoint("restore.held");
      await this.#shelf.touch(key, Date.now());
      return { held: this.#keep(manifest, holder), fresh: false };
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

  async #make(key: string, shape: TemplateShape, signal: AbortSignal): Promise<Obtained> {
    const startedAt = performance.now();
    const unfinished = await this.#shelf.begin(shape);
    let holder: Holder | undefined;
    try {
      const files = filesOf(unfinished);
      failpoint("template.building");
      await this.options.build(shape, files, signal);
      failpoint("template.saved");
      await seal(files);
      failpoint("template.sealed");
      holder = await holdMachine(await this.options.holderPath(), files, { signal });
      const facts = { key, shape: shapeName(shape), buildMs: performance.now() - startedAt };
      const manifest = await writeManifest(unfinished, facts, holder.digests);
      failpoint("template.described");
      await this.#shelf.place(unfinished, key);
      failpoint("template.placed");
      const held = this.#keep(manifest, holder);
      const { build_ms: ms } = manifest;
      this.options.log.info("template.made", { key, shape: facts.shape, ms, bytes: held.usedBytes });
      await this.#makeRoom(key, facts.shape);
      return { held, fresh: true };
    } catch (error) {
      await holder?.[Symbol.asyncDispose]();
      await this.#shelf.remove(unfinished);
      throw error;
    }
  }

  #keep({ key, build_ms: buildMs }: TemplateManifest, holder: Holder): HeldTemplate {
    const { memory, state } = holder.digests;
    const held = { key, holder, buildMs, usedBytes: memory.usedBytes + state.usedBytes };
    this.#held.keep(held);
    return held;
  }

  /** Removes what the new template succeeds, and what is too much on the disk. */
  async #makeRoom(successor: string, shape: string): Promise<void> {
    for (const key of await this.#shelf.stale(successor, shape)) {
      this.options.log.warn("template.stale", { key, shape, successor });
      await this.#held.retire(key);
      await this.#shelf.remove(this.#shelf.pathOf(key));
    }
    for (const key of await this.#shelf.surplus((held) => this.#held.usedAtMs(held))) {
      this.options.log.info("template.surplus", { key });
      await this.#shelf.remove(this.#shelf.pathOf(key));
    }
  }

  #rest(key: string, error: unknown): void {
    this.#resting.set(key, { until: performance.now() + REST_MS, error });
  }
}

function damaged(directory: string, how: string): PyroError {
  return new PyroError("TEMPLATE_DAMAGED", `the memory template ${directory} is damaged: ${how}`, {
    hint: "it is made anew by itself",
    details: { directory },
  });
}
