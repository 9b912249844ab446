import { silentLogger, Slots, type Logger } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { ImageBuilder } from "./builder.js";
import { fetchesPackages, makeCurated } from "./curated.js";
import { makeOfArchive, makeOfRegistry, type ArchiveFile, type FromImageOptions } from "./from-image.js";
import { HostPrograms } from "./host-tools.js";
import type { LayerMaker } from "./layer-maker.js";
import { requireOwnName } from "./names.js";
import type { PullProgress } from "./progress.js";
import type { Assembled } from "./record.js";
import type { EnvironmentStore } from "./store.js";
import type { EnvironmentStatus } from "./status.js";
import { sweepPulls } from "./sweep.js";

export interface PullResult {
  readonly environment: EnvironmentStatus;
  /** It was there and whole already. */
  readonly reused: boolean;
  /** It was there but damaged. */
  readonly repaired: boolean;
  readonly durationMs: number;
}

export interface PullOptions {
  /** Makes it of an image of this file; without it, a recipe or a registry has it. */
  readonly from?: ArchiveFile;
  /** Makes it anew even when it is whole. */
  readonly force?: boolean;
  /** Ends this caller's wait; the pull itself ends when nobody waits for it any more. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: PullProgress) => void;
}

export interface EnvironmentPullsOptions {
  readonly store: EnvironmentStore;
  readonly builder: ImageBuilder;
  readonly layers: LayerMaker;
  /** Where images of registries come from; asked when one is pulled. */
  readonly images: FromImageOptions["images"];
  readonly host?: HostPrograms;
  /** Files that name where Debian's packages are, instead of the configuration of the host's apt. */
  readonly aptSources?: readonly string[] | undefined;
  readonly logger?: Logger;
  /** Debian's name of the guest's architecture; default "amd64". */
  readonly architecture?: string;
  /** Takes this way of assembling and no other; by default the best that the host allows. */
  readonly way?: Assembled["way"];
  /** Digests of images that a machine or a workspace uses; their files stay when an environment is made anew. */
  readonly inUse?: () => Promise<ReadonlySet<string>>;
}

/** What is asked of a pull of a name. */
type Wish = Pick<PullOptions, "from"> & { readonly force: boolean };

interface ActivePull {
  readonly wish: Wish;
  readonly abort: AbortController;
  readonly listeners: Set<(progress: PullProgress) => void>;
  readonly result: Promise<PullResult>;
  latest: PullProgress | undefined;
  waiting: number;
}

/** Makes environments present and whole. One pull of a name at a time; others who ask meanwhile join it. */
export class EnvironmentPulls {
  readonly #options: EnvironmentPullsOptions;
  readonly #host: HostPrograms;
  readonly #active = new Map<string, ActivePull>();
  /** apt locks a suite's directories: two fetches at once would fail rather than wait. */
  readonly #fetchSlot = new Slots(1);

  constructor(options: EnvironmentPullsOptions) {
    this.#options = options;
    this.#host = options.host ?? new HostPrograms();
  }

  /**
   * Pulls an environment, or waits for the pull of it that is under way.
   * @param text an environment's name, or an image's reference: a tag is looked up each time; with `from`, the name that
   *   the environment gets
   * @throws {PyroError} UNKNOWN_ENVIRONMENT, HOST_TOOL_NOT_FOUND, ENVIRONMENT_BUILD_FAILED, ENVIRONMENT_BUSY, DISK_FULL,
   *   CONFIG_INVALID; of images, and of what is made over one, also what a registry, a layer or the builder fails with (IMAGE_*, REGISTRY_*, BLOB_*); with `from` also
   *   INVALID_ARGUMENT, ENVIRONMENT_EXISTS. What was finished is kept, so that the next pull goes on from there
   */
  async pull(text: string, options: PullOptions = {}): Promise<PullResult> {
    const { from, force = false } = options;
    const name = await this.#nameOf(text, from);
    options.signal?.throwIfAborted();
    const wish: Wish = { force, ...(from === undefined ? {} : { from }) };
    for (;;) {
      const running = this.#active.get(name);
      const mayJoin = running !== undefined && !running.abort.signal.aborted && fulfils(running.wish, wish);
      if (running === undefined) return await this.#join(this.#start(name, wish), options);
      if (mayJoin) return await this.#join(running, options);
      // One that is ending, that would be content with what is there, or that has another source: wait for its end, then
      // start over.
      await running.result.catch(() => undefined);
      options.signal?.throwIfAborted();
    }
  }

  /** How far the pull of an environment is; undefined where none is under way. */
  progressOf(name: string): PullProgress | undefined {
    const pull = this.#active.get(name);
    return pull === undefined ? undefined : (pull.latest ?? starting);
  }

  /** Environments that are being pulled. */
  get names(): ReadonlySet<string> {
    return new Set(this.#active.keys());
  }

  /** Ends all pulls and waits until nothing of them runs; what they finished is kept. */
  async close(): Promise<void> {
    const pulls = [...this.#active.values()];
    for (const pull of pulls) pull.abort.abort(cancelled("pyro is stopping"));
    await Promise.allSettled(pulls.map((pull) => pull.result));
  }

  /** With a file, a name is what the environment is called, whatever registries have by it. */
  async #nameOf(text: string, from: ArchiveFile | undefined): Promise<string> {
    const { store } = this.#options;
    if (from === undefined) return (await store.nameOf(text)).name;
    requireOwnName(store.catalogue, text);
    return text;
  }

  #start(name: string, wish: Wish): ActivePull {
    const abort = new AbortController();
    const listeners = new Set<(progress: PullProgress) => void>();
    const onProgress = (progress: PullProgress): void => {
      pull.latest = progress;
      for (const listener of listeners) listener(progress);
    };
    const result = this.#run(name, wish, abort.signal, onProgress)
      .catch((error: unknown) => {
        throw abort.signal.aborted ? (abort.signal.reason as Error) : PyroError.from(error);
      })
      .finally(() => this.#active.delete(name));
    // Each waiter handles the outcome; without any it is nobody's.
    result.catch(() => undefined);
    const pull: ActivePull = { wish, abort, listeners, result, latest: undefined, waiting: 0 };
    this.#active.set(name, pull);
    return pull;
  }

  async #join(pull: ActivePull, options: PullOptions): Promise<PullResult> {
    const { signal, onProgress } = options;
    if (onProgress !== undefined) {
      pull.listeners.add(onProgress);
      if (pull.latest !== undefined) onProgress(pull.latest);
    }
    pull.waiting += 1;
    let leave: (() => void) | undefined;
    try {
      return await Promise.race([
        pull.result,
        new Promise<never>((_, reject) => {
          leave = () => reject(signal?.reason as Error);
          signal?.addEventListener("abort", leave, { once: true });
        }),
      ]);
    } finally {
      if (leave !== undefined) signal?.removeEventListener("abort", leave);
      if (onProgress !== undefined) pull.listeners.delete(onProgress);
      pull.waiting -= 1;
      if (pull.waiting === 0 && signal?.aborted === true) {
        pull.abort.abort(signal.reason);
        await pull.result.catch(() => undefined);
      }
    }
  }

  async #run(
    name: string,
    { force, from }: Wish,
    signal: AbortSignal,
    onProgress: (progress: PullProgress) => void,
  ): Promise<PullResult> {
    const startedAt = Date.now();
    const { store, logger = silentLogger } = this.#options;
    const making = { fresh: force, signal, onProgress };
    const options = { architecture: "amd64", ...this.#options, ...making, logger, host: this.#host };
    const isNew = (await store.manifest(name)) === undefined;
    const before = await store.inspect(name);
    const recipe = store.catalogue.environments.get(name);
    const pullImage = (image: string): Promise<PullResult> =>
      this.pull(image, {
        signal,
        onProgress: (progress) => onProgress({ ...progress, message: `${image}: ${progress.message}` }),
      });
    const { reused } =
      from !== undefined
        ? await makeOfArchive(name, from, options)
        : recipe === undefined
          ? await makeOfRegistry(before, options)
          : await makeCurated(before, { ...options, recipe, fetchSlot: this.#fetchSlot, pullImage });
    return {
      environment: await store.inspect(name),
      reused,
      repaired: !isNew && before.state === "damaged",
      durationMs: Date.now() - startedAt,
    };
  }

  /**
   * Whether this host's apt fetches the packages of curated environments; else they are installed over an image.
   * @throws {PyroError} CONFIG_INVALID
   */
  async fetchesPackages(signal: AbortSignal): Promise<boolean> {
    const [recipe] = this.#options.store.catalogue.environments.values();
    if (recipe === undefined) return false;
    const files = this.#options.aptSources;
    return await fetchesPackages({ host: this.#host, suite: recipe.suite, files, signal });
  }

  /**
   * Removes what pulls that were killed left behind and cannot be resumed; called once when the daemon starts, before
   * any pull. A pull whose phases are still of use keeps them.
   */
  async sweepStale(): Promise<void> {
    await sweepPulls(this.#options.store, this.#host);
  }
}

/** Whether a pull that is under way gives what another caller wishes. */
function fulfils(running: Wish, wished: Wish): boolean {
  const isSameSource = running.from?.path === wished.from?.path && running.from?.image === wished.from?.image;
  return isSameSource && (running.force || !wished.force);
}

const starting: PullProgress = { phase: "fetch", bytesDone: 0, bytesTotal: 0, message: "starting" };

function cancelled(why: string): PyroError {
  return new PyroError("CANCELLED", `the pull was ended: ${why}`, {
    hint: "run it again: it goes on where it was",
  });
}
