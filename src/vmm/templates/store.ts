import type { PyroError } from "../../protocol/index.js";
import { HeldTemplates, type Template } from "./held.js";
import { plainShape, shapeName, templateKey, type TemplateGround, type TemplateShape } from "./key.js";
import { TemplateMaker, type Names, type Obtained, type TemplateMakerOptions } from "./maker.js";
import { SharedWork } from "./shared-work.js";
import { TemplateShelf } from "./shelf.js";

export interface TemplateStoreOptions extends TemplateMakerOptions {
  /** One directory per template below it. */
  readonly directory: string;
  /** What a template of the shape rests on now. */
  readonly ground: (shape: TemplateShape) => Promise<TemplateGround>;
}

/** What stands for a shape: a template that serves it, only such as do not any more, or none. */
export type TemplateReadiness = "warm" | "stale" | "cold";

/** After so many restores of one template that failed, and for so long after a build that failed, none is tried. */
const FAILED_RESTORES_MAX = 2;
const REST_MS = 60_000;

/**
 * Memory templates: made where they are missing, and proven whole, once in each daemon's life, before any machine
 * starts from them: the holder copies them into sealed memory and tells the digest of what it copied. From then on the
 * files do not matter. A template of another QEMU, bundle or host has another key, and is removed when its successor
 * stands. What all of them occupy is bounded: HELD_MAX in memory, TEMPLATES_MAX on the disk.
 */
export class TemplateStore implements AsyncDisposable {
  readonly #shelf: TemplateShelf;
  readonly #held: HeldTemplates;
  readonly #maker: TemplateMaker;
  readonly #work = new SharedWork<Obtained>();
  /** Of those that take one which stands, and make none. */
  readonly #finding = new SharedWork<Obtained | undefined>();
  readonly #failedRestores = new Map<string, number>();
  readonly #resting = new Map<string, { until: number; error: unknown }>();

  constructor(private readonly options: TemplateStoreOptions) {
    const shelf = new TemplateShelf(options.directory, options.log);
    this.#shelf = shelf;
    this.#held = new HeldTemplates((key, usedAtMs) => shelf.touch(key, usedAtMs));
    this.#maker = new TemplateMaker(shelf, this.#held, options);
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
      return lock === undefined ? undefined : await this.#maker.load(names, shape, workSignal);
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
    await this.#maker.remove(key);
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
    for (const key of keys) await this.#maker.remove(key);
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
      const found = anew ? undefined : await this.#maker.load(names, shape, signal);
      const obtained = found ?? (await this.#maker.make(names, shape, base, signal));
      this.#resting.delete(names.key);
      return obtained;
    } catch (error) {
      // Where it was to replace a good one, that one still stands.
      if (!signal.aborted && !anew) this.#rest(names.key, error);
      throw error;
    }
  }

  #rest(key: string, error: unknown): void {
    this.#resting.set(key, { until: performance.now() + REST_MS, error });
  }
}
