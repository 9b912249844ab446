import { open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type * as z from "zod";
import {
  failpoint,
  fingerprintOf,
  readJsonFile,
  sameFingerprint,
  tryLock,
  writeFileAtomic,
  type FileLock,
  type Logger,
  type Slots,
} from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { assembleLayers } from "./assemble.js";
import type { ImageBuilder } from "./builder.js";
import type { EnvironmentRecipe } from "./catalogue.js";
import { makeFileSystem } from "./disk.js";
import { fetchPackages, stillFetched } from "./fetch.js";
import { requireSpace, type HostPrograms } from "./host-tools.js";
import { makeCacheDirectory, safeName } from "./layout.js";
import type { PullProgress } from "./progress.js";
import {
  assembledSchema,
  fetchedSchema,
  fileMatches,
  inputsDigest,
  unpackedSchema,
  type Assembled,
  type Fetched,
} from "./record.js";
import { sealImage } from "./seal.js";
import type { EnvironmentStore } from "./store.js";
import { dropPartial, RAW } from "./sweep.js";

export interface PullRunOptions {
  readonly store: EnvironmentStore;
  readonly builder: ImageBuilder;
  readonly host: HostPrograms;
  readonly logger: Logger;
  readonly architecture: string;
  readonly recipe: EnvironmentRecipe;
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
 * One pull of one environment, phase after phase. Each phase ends with a record, written after everything it speaks of
 * is durable; a later pull checks the record against the files and starts from the first phase that does not hold.
 */
export class PullRun implements AsyncDisposable {
  readonly #options: PullRunOptions;
  readonly #directory: string;
  readonly #packagesRoot: string;
  readonly #lock: FileLock;
  #finished = false;

  private constructor(options: PullRunOptions, directory: string, lock: FileLock) {
    this.#options = options;
    this.#directory = directory;
    this.#lock = lock;
    const { layout } = options.store;
    this.#packagesRoot = join(layout.packages, `${options.recipe.suite}-${options.architecture}`);
  }

  /** Takes the environment's place; ENVIRONMENT_BUSY where another process pulls it into the same cache. */
  static async open(options: PullRunOptions): Promise<PullRun> {
    const { layout } = options.store;
    const directory = join(layout.pulls, safeName(options.recipe.name));
    for (const path of [layout.images, layout.manifests, layout.packages, directory])
      await makeCacheDirectory(path);
    const lock = await tryLock(join(directory, "lock"));
    if (lock === undefined) {
      throw new PyroError(
        "ENVIRONMENT_BUSY",
        `another process is pulling ${options.recipe.name} into this cache`,
        {
          hint: "wait for it, then try again",
          retryable: true,
        },
      );
    }
    const run = new PullRun(options, directory, lock);
    if (options.fresh) {
      for (const record of ["unpacked", "assembled", "fetched"])
        await rm(run.#record(record), { force: true });
    }
    return run;
  }

  async run(): Promise<void> {
    failpoint("pull.fetch");
    const fetched = await this.#fetch();
    failpoint("pull.assemble");
    const assembled = await this.#assemble(fetched);
    failpoint("pull.unpack");
    await this.#unpack(assembled);
    failpoint("pull.seal");
    await this.#seal(fetched);
    failpoint("pull.sealed");
    this.#finished = true;
  }

  async #fetch(): Promise<Fetched> {
    const { recipe, host, signal, architecture } = this.#options;
    const kept = await this.#read("fetched", fetchedSchema);
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
      architecture,
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
    await this.#write("fetched", record);
    return record;
  }

  async #assemble(fetched: Fetched): Promise<Assembled> {
    const { host, recipe, architecture, signal, logger, way } = this.#options;
    const kept = await this.#read("assembled", assembledSchema);
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
      directory: this.#directory,
      signal,
      logger,
      onProgress: this.#progress("assemble"),
      ...(way === undefined ? {} : { way }),
    });
    failpoint("pull.assembled");
    await this.#write("assembled", assembled);
    return assembled;
  }

  async #hasLayers(assembled: Assembled): Promise<boolean> {
    for (const layer of assembled.layers) {
      const path = join(this.#directory, layer.file);
      if (!(await fileMatches(path, layer.size_bytes, layer.sha256, this.#options.signal))) return false;
    }
    return true;
  }

  async #unpack(assembled: Assembled): Promise<void> {
    const { host, recipe, signal, builder, logger } = this.#options;
    const raw = join(this.#directory, RAW);
    const kept = await this.#read("unpacked", unpackedSchema);
    if (kept?.inputs === assembled.inputs) {
      const now = await fingerprintOf(raw).catch(() => undefined);
      if (now !== undefined && sameFingerprint(now, kept.fingerprint)) return;
    }
    await rm(this.#record("unpacked"), { force: true });
    // Its packages lie beside what they install, in the other way of assembling.
    const needed = recipe.installedBytes * (assembled.way === "staged" ? 2.5 : 1.2);
    await requireSpace(this.#directory, needed, "unpacking the image");
    const onProgress = this.#progress("unpack");
    onProgress(0, 0, "starting the builder VM");
    await makeFileSystem(host, raw, signal);
    const output = new TextDecoder();
    await builder.build({
      layers: assembled.layers.map((layer) => ({
        path: join(this.#directory, layer.file),
        sizeBytes: layer.size_bytes,
      })),
      target: raw,
      steps: assembled.steps,
      onProgress: ({ phase, bytesDone, bytesTotal }) =>
        onProgress(bytesDone, bytesTotal, phase === "unpack" ? phase : "configuring"),
      onOutput: (chunk) => {
        const text = output.decode(chunk, { stream: true });
        logger.info("image.build-output", { environment: recipe.name, text });
        const step = lastStep(text);
        if (step !== undefined) onProgress(0, 0, step);
      },
      signal,
    });
    signal.throwIfAborted();
    await syncFile(raw);
    failpoint("pull.unpacked");
    await this.#write("unpacked", {
      format: 1,
      inputs: assembled.inputs,
      fingerprint: await fingerprintOf(raw),
    });
  }

  async #seal(fetched: Fetched): Promise<void> {
    const { host, recipe, store, signal, inUse } = this.#options;
    const raw = join(this.#directory, RAW);
    await sealImage({
      ...{ store, host, signal, directory: this.#directory },
      from: { path: raw, format: "raw" },
      usedBytes: (await stat(raw)).blocks * 512,
      manifest: {
        name: recipe.name,
        source: "curated",
        recipe: recipe.digest,
        packages: fetched.packages.map(({ name, version }) => ({ name, version })),
      },
      onProgress: this.#progress("seal"),
      ...(inUse === undefined ? {} : { inUse }),
    });
  }

  #progress(phase: PullProgress["phase"]) {
    return (bytesDone: number, bytesTotal: number, message: string): void =>
      this.#options.onProgress({ phase, bytesDone, bytesTotal, message });
  }

  #record(name: string): string {
    return join(this.#directory, `${name}.json`);
  }

  async #read<T>(name: string, schema: z.ZodType<T>): Promise<T | undefined> {
    return schema.safeParse(await readJsonFile(this.#record(name))).data;
  }

  async #write(name: string, record: unknown): Promise<void> {
    await writeFileAtomic(this.#record(name), `${JSON.stringify(record)}\n`);
  }

  /** Ends the pull: all of it goes when it succeeded, else all but what the next one can use. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#finished) await rm(this.#directory, { recursive: true, force: true });
    else await dropPartial(this.#directory);
    await this.#lock[Symbol.asyncDispose]();
  }
}

async function syncFile(path: string): Promise<void> {
  await using file = await open(path, "r");
  await file.sync();
}

/** The last thing that dpkg says it is doing; the rest of its output is for the log. */
function lastStep(text: string): string | undefined {
  return [...text.matchAll(/^(?:Unpacking|Setting up|Processing triggers for) [^\n(]*/gm)].at(-1)?.[0].trim();
}
