import { stat } from "node:fs/promises";
import { join } from "node:path";
import { allocatedBytes, failpoint, type Logger, type Slots } from "../kit/index.js";
import { assembleLayers } from "./assemble.js";
import type { ImageBuilder } from "./builder.js";
import type { EnvironmentRecipe } from "./catalogue.js";
import { fetchPackages, stillFetched } from "./fetch.js";
import type { HostPrograms } from "./host-tools.js";
import { makeCacheDirectory } from "./layout.js";
import type { PullProgress } from "./progress.js";
import { PullPlace } from "./pull-place.js";
import {
  assembledSchema,
  fetchedSchema,
  fileMatches,
  inputsDigest,
  type Assembled,
  type Fetched,
} from "./record.js";
import { sealImage } from "./seal.js";
import type { AptSource } from "./sources.js";
import type { EnvironmentStore } from "./store.js";
import { unpackLayers } from "./unpack.js";

export interface PullRunOptions {
  readonly store: EnvironmentStore;
  readonly builder: ImageBuilder;
  readonly host: HostPrograms;
  readonly logger: Logger;
  readonly architecture: string;
  readonly recipe: EnvironmentRecipe;
  /** Where the host's apt fetches from. */
  readonly sources: readonly AptSource[];
  readonly fetchSlot: Slots;
  /** Forgets what earlier pulls of the environment finished. */
  readonly fresh: boolean;
  readonly way?: Assembled["way"];
  readonly inUse?: () => Promise<ReadonlySet<string>>;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: PullProgress) => void;
}

/** A fetch is taken up again by a later pull for this long; then the lists are read anew. */
const FETCH_KEPT_MS = 24 * 3600_000;

/**
 * One pull of a curated environment, phase after phase. Each phase ends with a record, written after everything it speaks
 * of is durable; a later pull checks the record against the files and starts from the first phase that does not hold.
 */
export class PullRun implements AsyncDisposable {
  readonly #options: PullRunOptions;
  readonly #packagesRoot: string;
  readonly #place: PullPlace;

  private constructor(options: PullRunOptions, place: PullPlace) {
    this.#options = options;
    this.#place = place;
    const { layout } = options.store;
    this.#packagesRoot = join(layout.packages, `${options.recipe.suite}-${options.architecture}`);
  }

  /** Takes the environment's place; ENVIRONMENT_BUSY where another process pulls it into the same cache. */
  static async open(options: PullRunOptions): Promise<PullRun> {
    const { layout } = options.store;
    await makeCacheDirectory(layout.packages);
    return new PullRun(options, await PullPlace.open(layout, options.recipe.name, options));
  }

  async run(): Promise<void> {
    failpoint("pull.fetch");
    const fetched = await this.#fetch();
    failpoint("pull.assemble");
    const assembled = await this.#assemble(fetched);
    failpoint("pull.unpack");
    const disk = await this.#unpack(assembled);
    failpoint("pull.seal");
    await this.#seal(fetched, assembled, disk);
    failpoint("pull.sealed");
    this.#place.finish();
  }

  async #fetch(): Promise<Fetched> {
    const { recipe, host, signal, architecture, sources } = this.#options;
    const kept = await this.#place.read("fetched", fetchedSchema);
    if (
      kept?.recipe === recipe.digest &&
      kept.fetched_at_ms > Date.now() - FETCH_KEPT_MS &&
      (await stillFetched(this.#packagesRoot, kept.packages, signal))
    ) {
      return kept;
    }
    using _slot = await this.#options.fetchSlot.take(signal);
    const result = await fetchPackages({
      host,
      root: this.#packagesRoot,
      suite: recipe.suite,
      ...{ architecture, sources },
      packages: recipe.packages,
      signal,
      onProgress: this.#progress("fetch"),
    });
    failpoint("pull.fetched");
    const record: Fetched = {
      format: 1,
      recipe: recipe.digest,
      fetched_at_ms: Date.now(),
      packages: [...result.packages],
      essential: [...result.essential],
    };
    await this.#place.write("fetched", record);
    return record;
  }

  async #assemble(fetched: Fetched): Promise<Assembled> {
    const { host, recipe, architecture, signal, logger, way } = this.#options;
    const kept = await this.#place.read("assembled", assembledSchema);
    if (
      kept?.inputs === inputsDigest(fetched) &&
      (way ?? kept.way) === kept.way &&
      (await this.#hasLayers(kept))
    ) {
      return kept;
    }
    const assembled = await assembleLayers({
      host,
      catalogue: this.#options.store.catalogue,
      recipe,
      architecture,
      fetched,
      packagesRoot: this.#packagesRoot,
      directory: this.#place.directory,
      signal,
      logger,
      onProgress: this.#progress("assemble"),
      ...(way === undefined ? {} : { way }),
    });
    failpoint("pull.assembled");
    await this.#place.write("assembled", assembled);
    return assembled;
  }

  async #hasLayers(assembled: Assembled): Promise<boolean> {
    for (const layer of assembled.layers) {
      const path = this.#place.path(layer.file);
      if (!(await fileMatches(path, layer.size_bytes, layer.sha256, this.#options.signal))) return false;
    }
    return true;
  }

  async #unpack({ layers, steps, way, inputs }: Assembled): Promise<string> {
    const { recipe } = this.#options;
    return await unpackLayers({
      ...this.#options,
      place: this.#place,
      files: layers.map(({ file }) => this.#place.path(file)),
      layers: () =>
        Promise.resolve(
          layers.map(({ file, size_bytes: sizeBytes }) => ({ path: this.#place.path(file), sizeBytes })),
        ),
      ...{ steps, inputs },
      // Its packages lie beside what they install, in the other way of assembling.
      neededBytes: recipe.installedBytes * (way === "staged" ? 2.5 : 1.2),
      onProgress: this.#progress("unpack"),
    });
  }

  async #seal(fetched: Fetched, assembled: Assembled, disk: string): Promise<void> {
    const { recipe } = this.#options;
    await sealImage({
      ...this.#options,
      directory: this.#place.directory,
      // Where packages lay on the disk while they were installed, it is longer than what it holds.
      from: { path: disk, by: assembled.way === "staged" ? "copy" : "move" },
      usedBytes: allocatedBytes(await stat(disk)),
      manifest: {
        name: recipe.name,
        source: "curated",
        recipe: recipe.digest,
        packages: fetched.packages.map(({ name, version }) => ({ name, version })),
      },
      onProgress: this.#progress("seal"),
    });
  }

  #progress(phase: PullProgress["phase"]) {
    return (bytesDone: number, bytesTotal: number, message: string): void =>
      this.#options.onProgress({ phase, bytesDone, bytesTotal, message });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#place[Symbol.asyncDispose]();
  }
}
