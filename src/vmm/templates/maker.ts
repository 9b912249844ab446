import { failpoint, type Logger } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import { holdMachine, type Holder } from "../memory/holder.js";
import type { HeldTemplate, HeldTemplates, Template } from "./held.js";
import type { TemplateShape } from "./key.js";
import { layerDifference, readLayer } from "./layer.js";
import {
  difference,
  filesOf,
  readManifest,
  writeManifest,
  type TemplateFiles,
  type TemplateManifest,
} from "./manifest.js";
import { seal, type TemplateShelf } from "./shelf.js";

export interface TemplateMakerOptions {
  /** pyro-hold of the runtime bundle. */
  readonly holderPath: () => Promise<string>;
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

/** What a template is called, and what its machines are saved as. */
export type Names = Pick<HeldTemplate, "key" | "savedAs">;

export interface Obtained {
  readonly held: HeldTemplate;
  readonly fresh: boolean;
}

/** Takes templates from the shelf into memory, and makes them. Whoever calls it has the shelf's lock. */
export class TemplateMaker {
  constructor(
    private readonly shelf: TemplateShelf,
    private readonly held: HeldTemplates,
    private readonly options: TemplateMakerOptions,
  ) {}

  /** The template that stands on the shelf, if it is whole. */
  async load(names: Names, shape: TemplateShape, signal: AbortSignal): Promise<Obtained | undefined> {
    const { key } = names;
    // Another who found it may have been here.
    const held = this.held.find(key);
    if (held !== undefined) return { held, fresh: false };
    const directory = await this.shelf.find(key);
    if (directory === undefined) return undefined;
    try {
      const manifest = await readManifest(directory);
      if (manifest?.key !== key) throw damaged(directory, "its manifest is missing or says something else");
      const layer = await provenLayer(directory, shape, manifest);
      const holder = await this.#prove(directory, manifest, signal);
      failpoint("restore.held");
      await this.shelf.touch(key, Date.now());
      return { held: this.#keep(names, manifest, holder, layer), fresh: false };
    } catch (thrown) {
      signal.throwIfAborted();
      const error = PyroError.from(thrown);
      if (error.code !== "TEMPLATE_DAMAGED") throw error;
      this.options.log.warn("template.damaged", { key, code: error.code, reason: error.message });
      await this.shelf.remove(directory);
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

  async make(
    names: Names,
    shape: TemplateShape,
    base: Template | undefined,
    signal: AbortSignal,
  ): Promise<Obtained> {
    const { key } = names;
    const startedAt = performance.now();
    const unfinished = await this.shelf.begin(shape);
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
      await this.shelf.place(unfinished, key);
      failpoint("template.placed");
      const held = this.#keep(names, manifest, holder, layer);
      const { build_ms: ms, shape: name } = manifest;
      this.options.log.info("template.made", { key, shape: name, ms, bytes: held.usedBytes });
      await this.#makeRoom(key, name);
      return { held, fresh: true };
    } catch (error) {
      await holder?.[Symbol.asyncDispose]();
      await this.shelf.remove(unfinished);
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
    this.held.keep(held);
    return held;
  }

  /** Removes what the new template succeeds, and what is too much on the disk. */
  async #makeRoom(successor: string, shape: string): Promise<void> {
    for (const key of await this.shelf.stale(successor, shape)) {
      this.options.log.warn("template.stale", { key, shape, successor });
      await this.remove(key);
    }
    for (const key of await this.shelf.surplus((held) => this.held.usedAtMs(held))) {
      this.options.log.info("template.surplus", { key });
      await this.shelf.remove(this.shelf.pathOf(key));
    }
  }

  async remove(key: string): Promise<void> {
    await this.held.retire(key);
    await this.shelf.remove(this.shelf.pathOf(key));
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
