import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { failpoint, freshId, tryLock } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import {
  describeImage,
  findImage,
  parsePushReference,
  parseReference,
  type BlobStore,
  type ImagePushes,
  type LocalImage,
  type NewLayer,
  type PushedImage,
} from "../oci/index.js";
import { requireSpace } from "./host-tools.js";
import { packLayer } from "./pack-layer.js";
import type { ImagePacker } from "./packer.js";
import type { PullProgress } from "./progress.js";
import type { EnvironmentSource } from "./record.js";
import type { EnvironmentStore } from "./store.js";
import type { EnvironmentConfig, EnvironmentStatus, InstalledImage } from "./status.js";

export interface EnvironmentPushesOptions {
  readonly store: EnvironmentStore;
  readonly packer: ImagePacker;
  /** Asked for when there is something to push. */
  readonly images: () => Promise<ImagePushes>;
  /** Of references without one; default docker.io. */
  readonly defaultRegistry?: string | undefined;
  /** What pulls keep: an environment whose image is there as a whole is pushed as that very image. */
  readonly blobs?: (() => Promise<BlobStore>) | undefined;
  /** Keeps an image's file until the result is disposed of. */
  readonly hold: (digest: string) => Disposable;
}

export interface PushOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: PushProgress) => void;
}

export type PushProgress = Omit<PullProgress, "phase"> & { readonly phase: "pack" | "upload" };

export interface PushResult extends PushedImage {
  readonly environment: string;
  /** It is the image that the environment came from, with its own layers. */
  readonly isSameImage: boolean;
  /** Sockets, which no image carries. */
  readonly leftOut: number;
  readonly durationMs: number;
}

/** What a command needs that finds nothing set: docker and podman take no image without one unless they are told. */
const PLAIN: EnvironmentConfig = {
  env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
  ...{ user: "", workingDir: "", entrypoint: [], cmd: ["/bin/sh"] },
};
const PLATFORM = { os: "linux", architecture: "amd64" };
/** pyro makes the second for its workspaces, the first is the file system's own. */
const OF_DISK = ["lost+found"];
const OF_WORKSPACE = ["workspace"];
const SCRATCH = "pushes";

/**
 * Publishes environments as images of registries. What a push makes on this host is in a directory of its own, and is gone
 * when it ends; a killed one's goes with the next start. A registry gives the image its name last: until then nobody sees it.
 */
export class EnvironmentPushes {
  readonly #options: EnvironmentPushesOptions;
  readonly #directory: string;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  /** @param cache the cache directory of this host's environments */
  constructor(options: EnvironmentPushesOptions, cache: string) {
    this.#options = options;
    this.#directory = join(cache, SCRATCH);
  }

  /**
   * Pushes an environment.
   * @param name the environment's, or the reference that it came from
   * @param reference where to; without a tag it is "latest"
   * @throws {PyroError} UNKNOWN_ENVIRONMENT, ENVIRONMENT_NOT_PULLED, ENVIRONMENT_DAMAGED, ENVIRONMENT_NOT_PORTABLE,
   *   IMAGE_REFERENCE_INVALID, REGISTRY_*, BLOB_DIGEST_MISMATCH, DISK_FULL, or what the builder VM failed with
   */
  async push(name: string, reference: string, options: PushOptions): Promise<PushResult> {
    const signal = AbortSignal.any([options.signal, this.#closing.signal]);
    const work = this.#push(name, reference, { ...options, signal });
    this.#running.add(work);
    try {
      return await work;
    } catch (error) {
      signal.throwIfAborted();
      throw PyroError.from(error);
    } finally {
      this.#running.delete(work);
    }
  }

  /** Ends all pushes, and waits until nothing of them runs. */
  async close(): Promise<void> {
    const hint = "push again: what the registry has is not sent twice";
    this.#closing.abort(new PyroError("CANCELLED", "the push was ended: pyro is stopping", { hint }));
    await Promise.allSettled(this.#running);
  }

  /** Removes what killed pushes left; called once when the daemon starts. */
  async sweepStale(): Promise<void> {
    for (const entry of await readdir(this.#directory).catch(() => [])) {
      const path = join(this.#directory, entry);
      // Another process, with a state of its own but this cache, may be at work there.
      await using lock = await tryLock(join(path, "lock")).catch(() => undefined);
      if (lock !== undefined) await rm(path, { recursive: true, force: true });
    }
  }

  async #push(name: string, to: string, { signal, onProgress }: PushOptions): Promise<PushResult> {
    const startedAt = Date.now();
    const { store, defaultRegistry, hold } = this.#options;
    const reference = parsePushReference(to, defaultRegistry);
    const status = await store.inspect(name);
    const image = await store.require(name);
    using _held = hold(image.digest);
    // Before anything that takes time: most pushes that fail do so because nobody is logged in.
    const images = await this.#options.images();
    await images.check(reference, signal);
    const upload = async (local: LocalImage): Promise<PushedImage> =>
      await images.push(reference, local, {
        signal,
        onProgress: ({ waiting, ...bytes }) =>
          onProgress?.({ phase: "upload", ...bytes, message: waiting?.because ?? "sending the image" }),
      });
    const result = (pushed: PushedImage, isSameImage: boolean, leftOut: number): PushResult => ({
      ...{ ...pushed, environment: status.name, isSameImage, leftOut },
      durationMs: Date.now() - startedAt,
    });
    const same = await this.#sameImage(status, image, signal);
    if (same !== undefined) return result(await upload(same), true, 0);
    await using scratch = await this.#scratch();
    await requireSpace(scratch.path, image.sizeBytes, "packing the image");
    const { local, leftOut } = await this.#pack(status, image, scratch.path, {
      signal,
      ...(onProgress && { onProgress }),
    });
    failpoint("push.packed");
    return result(await upload(local), false, leftOut);
  }

  /** The image that the environment came from, where all of it is still here. */
  async #sameImage(
    { source }: EnvironmentStatus,
    { origin }: InstalledImage,
    signal: AbortSignal,
  ): Promise<LocalImage | undefined> {
    const { blobs } = this.#options;
    if (blobs === undefined || origin === undefined || !isPulled(source)) return undefined;
    const from = source === "image" ? parseReference(origin.reference) : undefined;
    return await findImage(await blobs(), origin.manifest_digest, from, signal);
  }

  async #pack(
    { name, source }: EnvironmentStatus,
    image: InstalledImage,
    directory: string,
    { signal, onProgress }: PushOptions,
  ): Promise<{ local: LocalImage; leftOut: number }> {
    onProgress?.({ phase: "pack", bytesDone: 0, bytesTotal: 0, message: "starting the builder" });
    const request = {
      image: image.path,
      // What an image of somebody else's has is that image's; in a workspace, pyro makes it.
      leaveOutEmpty: isPulled(source) || source === "curated" ? OF_DISK : [...OF_DISK, ...OF_WORKSPACE],
      signal,
    };
    const layers: NewLayer[] = [];
    const { leftOut } = await this.#options.packer.pack(request, async (tree) => {
      const bytesTotal = tree.usedBytes;
      const report = (bytes: number): void =>
        onProgress?.({
          phase: "pack",
          bytesDone: Math.min(bytes, bytesTotal),
          bytesTotal,
          message: "packing the files",
        });
      layers.push(await packLayer(tree, join(directory, "layer"), signal, report));
    });
    const local = describeImage({
      platform: PLATFORM,
      config: image.config ?? PLAIN,
      createdAtMs: image.createdAtMs,
      layers,
      createdBy: "pyro env push",
      annotations: { "org.opencontainers.image.title": name },
    });
    return { local, leftOut };
  }

  async #scratch(): Promise<{ path: string } & AsyncDisposable> {
    const path = join(this.#directory, freshId("push"));
    await mkdir(path, { recursive: true, mode: 0o700 });
    const lock = await tryLock(join(path, "lock"));
    return {
      path,
      [Symbol.asyncDispose]: async () => {
        await rm(path, { recursive: true, force: true });
        await lock?.[Symbol.asyncDispose]();
      },
    };
  }
}

function isPulled(source: EnvironmentSource): boolean {
  return source === "image" || source === "archive";
}
