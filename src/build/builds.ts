import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import {
  requireOwnName,
  safeName,
  takeDirectory,
  type EnvironmentStatus,
  type EnvironmentStore,
  type HostPrograms,
  type InstalledImage,
  type PruneResult,
} from "../image/index.js";
import { failpoint, namesIn, readJsonFile, tryLock, writeFileAtomic, type FileLock } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { NetworkPolicyText } from "../workspace/index.js";
import { runBuild, type BuildEvents, type BuildOutcome } from "./build-run.js";
import { LayerCache } from "./layers.js";
import type { StepMachines } from "./machines.js";
import { baseOf, planOf } from "./plan.js";
import type { Recipe } from "./recipe.js";

/** What is to be built. */
export interface BuildRequest {
  /** What it will be called on this host. */
  readonly name: string;
  readonly recipe: Recipe;
  /** Values of ARG. */
  readonly args: ReadonlyMap<string, string>;
  /** Absolute path of the directory that COPY takes from. */
  readonly context: string;
  /** Of the commands. */
  readonly network: NetworkPolicyText;
  readonly vcpuCount: number;
  readonly memMib: number;
  /** Of each command; 0: LIMITS.buildStepMs. */
  readonly stepTimeoutMs: number;
  /** Refuse when the environment to build from is not on this host, instead of pulling it. */
  readonly noPull: boolean;
  /** Does every step anew. */
  readonly noCache: boolean;
}

export interface BuildResult extends Pick<BuildOutcome, "reused" | "stepCount" | "cachedCount" | "warnings"> {
  readonly environment: EnvironmentStatus;
  readonly durationMs: number;
}

export interface EnvironmentBuildsOptions {
  readonly store: EnvironmentStore;
  readonly host: HostPrograms;
  readonly machines: StepMachines;
  /** The image to build from, proven whole; pulled where it may be. */
  readonly requireBase: (
    name: string,
    options: {
      readonly noPull: boolean;
      readonly signal: AbortSignal;
      readonly onProgress: BuildEvents["onProgress"];
    },
  ) => Promise<InstalledImage>;
  /** Keeps an image from being removed until the result is disposed of. */
  readonly hold: (digest: string) => Disposable;
  /** Digests of images that are held. */
  readonly inUse: () => Promise<ReadonlySet<string>>;
}

/** Which layers an environment was made of. */
const recordSchema = z.strictObject({
  format: z.literal(1),
  name: z.string(),
  recipe: z.string(),
  steps: z.array(z.string()),
});

/** Builds environments: each name by one at a time, whatever daemon shares the cache. */
export class EnvironmentBuilds {
  readonly #options: EnvironmentBuildsOptions;
  readonly #layers: LayerCache;
  /** Of what is built now: its end, and what ends it early. */
  readonly #active = new Map<string, { readonly abort: AbortController; readonly over: Promise<unknown> }>();

  constructor(options: EnvironmentBuildsOptions) {
    this.#options = options;
    this.#layers = new LayerCache(join(options.store.layout.builds, "layers"));
  }

  /**
   * Builds an environment; what was done before of the same inputs is used. Ends with its caller.
   * @throws {PyroError} INVALID_ARGUMENT, ENVIRONMENT_BUSY, ENVIRONMENT_NOT_PULLED, what `runBuild` throws; whole steps are
   *   kept, and an environment of this name is as it was
   */
  async build(request: BuildRequest, events: BuildEvents, signal: AbortSignal): Promise<BuildResult> {
    const { name } = request;
    requireOwnName(this.#options.store.catalogue, name);
    const stepTimeoutMs = requireStepTimeout(request.stepTimeoutMs);
    if (this.#active.has(name)) throw busy(name);
    const abort = new AbortController();
    const over = this.#build({ ...request, stepTimeoutMs }, events, AbortSignal.any([signal, abort.signal]));
    this.#active.set(name, { abort, over: over.catch(() => undefined) });
    try {
      return await over;
    } finally {
      this.#active.delete(name);
    }
  }

  async #build(request: BuildRequest, events: BuildEvents, signal: AbortSignal): Promise<BuildResult> {
    const startedAt = performance.now();
    const { store, host, machines, requireBase, hold, inUse } = this.#options;
    const { name, recipe, args, noPull, noCache } = request;
    await using work = await this.#open(name);
    const image = await requireBase(baseOf(recipe, args), { noPull, signal, onProgress: events.onProgress });
    using _held = hold(image.digest);
    const plan = planOf(recipe, image.config, args);
    const outcome = await runBuild({
      ...{ ...request, image, plan, store, host, machines, inUse, events, signal },
      ...{ layers: this.#layers, directory: work.directory },
      salt: noCache ? ` ${randomBytes(8).toString("hex")}` : "",
    });
    const { reused, stepCount, cachedCount, warnings, key, stepKeys } = outcome;
    const record = { format: 1, name, recipe: `sha256:${key}`, steps: stepKeys };
    failpoint("build.sealed");
    await writeFileAtomic(this.#recordPath(name), `${JSON.stringify(record)}\n`);
    const environment = await store.inspect(name);
    return {
      environment,
      reused,
      stepCount,
      cachedCount,
      warnings,
      durationMs: performance.now() - startedAt,
    };
  }

  /** A place of its own, until it is disposed of. */
  async #open(name: string): Promise<{ readonly directory: string } & AsyncDisposable> {
    const { layout } = this.#options.store;
    const directory = join(layout.builds, "work", safeName(name));
    const others = [layout.images, layout.manifests, join(layout.builds, "names")];
    const lock = await takeDirectory(directory, others, () => busy(name));
    return {
      directory,
      [Symbol.asyncDispose]: async () => {
        await rm(directory, { recursive: true, force: true });
        await lock[Symbol.asyncDispose]();
      },
    };
  }

  /** Ends all builds and waits until nothing of them runs. */
  async close(): Promise<void> {
    const builds = [...this.#active.values()];
    for (const { abort } of builds) {
      abort.abort(
        new PyroError("CANCELLED", "the build was ended: pyro is stopping", {
          hint: "build again: it goes on after the last whole step",
        }),
      );
    }
    await Promise.all(builds.map(({ over }) => over));
  }

  /** Removes what killed builds left; called when the daemon starts. Whole layers stay. */
  async sweepStale(): Promise<void> {
    await using others = await this.#alone();
    if (others !== undefined) await this.#layers.sweep();
  }

  /** Removes layers that no built environment is made of; with `all` every one. Nothing while anybody builds. */
  async prune(all: boolean): Promise<PruneResult> {
    await using alone = this.#active.size > 0 ? undefined : await this.#alone();
    if (alone === undefined) return { removed: [], freedBytes: 0 };
    const named = await this.#named();
    const { keys, freedBytes } = await this.#layers.prune(all ? new Set() : named);
    return { removed: keys.map((key) => `build layer ${key.slice(0, 12)}`), freedBytes };
  }

  /** Keys of the layers that whole environments were made of; forgets what speaks of others. */
  async #named(): Promise<Set<string>> {
    const { store } = this.#options;
    const directory = join(store.layout.builds, "names");
    const named = new Set<string>();
    for (const file of await namesIn(directory)) {
      const { data } = recordSchema.safeParse(await readJsonFile(join(directory, file)));
      const manifest = data === undefined ? undefined : await store.manifest(data.name);
      if (data !== undefined && manifest?.source === "build" && manifest.recipe === data.recipe) {
        for (const key of data.steps) named.add(key);
      } else await rm(join(directory, file), { force: true });
    }
    return named;
  }

  /** Removes the places of builds that were killed, and holds those; undefined while another process builds in this cache. */
  async #alone(): Promise<AsyncDisposable | undefined> {
    const directory = join(this.#options.store.layout.builds, "work");
    const locks: FileLock[] = [];
    const release = async (): Promise<void> => {
      for (const lock of locks) await lock[Symbol.asyncDispose]();
    };
    for (const entry of await namesIn(directory)) {
      const lock = await tryLock(join(directory, entry, "lock"));
      if (lock === undefined) {
        await release();
        return undefined;
      }
      locks.push(lock);
      await rm(join(directory, entry), { recursive: true, force: true });
    }
    return { [Symbol.asyncDispose]: release };
  }

  #recordPath(name: string): string {
    return join(this.#options.store.layout.builds, "names", `${safeName(name)}.json`);
  }
}

function busy(name: string): PyroError {
  return new PyroError("ENVIRONMENT_BUSY", `${name} is being built already`, {
    hint: "wait for that, then build again: what it did is used",
    retryable: true,
  });
}

/** @throws {PyroError} the limit and the value seen */
function requireStepTimeout(ms: number): number {
  if (ms === 0) return LIMITS.buildStepMs;
  if (ms > 0 && ms <= LIMITS.longestSeconds * 1000) return ms;
  throw new PyroError("INVALID_ARGUMENT", `a step cannot take ${ms} ms`, {
    hint: `give up to ${LIMITS.longestSeconds} seconds`,
  });
}
