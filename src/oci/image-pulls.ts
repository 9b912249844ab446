import { setMaxListeners } from "node:events";
import { Slots } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { openArchive } from "./archive.js";
import { archivedDocument, chooseArchived, takeBlob } from "./archived-image.js";
import { Authorization } from "./authorization.js";
import type { CredentialSource } from "./credentials.js";
import type { BlobStore } from "./blob-store.js";
import type { Digest } from "./digest.js";
import { download } from "./download.js";
import type { Descriptor, Platform } from "./manifest.js";
import { formatPlatform } from "./platform.js";
import { ProgressReport, type ImagePullProgress } from "./progress.js";
import {
  pullImage,
  storeImage,
  type OnKnownImage,
  type PulledImage,
  type PullSources,
  type StoredImage,
} from "./pull.js";
import { formatReference, parseReference, type Reference } from "./reference.js";
import { endpointsOf, type RegistrySettings } from "./registries.js";
import { fetchDocument, Repository } from "./repository.js";
import { RepositoryRequests } from "./requests.js";
import type { RetryOptions } from "./retries.js";
import { SharedWork, type Waiter } from "./shared-work.js";
import { HttpTransport, type TransportOptions } from "./transport.js";

export interface ImagePullsOptions {
  /** Opened and closed by the caller. */
  readonly store: BlobStore;
  readonly registries?: RegistrySettings;
  /** The user's logins; none by default. */
  readonly credentials?: CredentialSource;
  readonly transport?: TransportOptions;
  readonly retry?: RetryOptions;
}

export interface ImagePullOptions extends Waiter<ImagePullProgress> {
  /** Default: Linux on amd64. */
  readonly platform?: Platform;
  /** Not called where the same image is being pulled already, for another caller. */
  readonly onKnown?: OnKnownImage;
}

export interface ArchiveOptions extends ImagePullOptions {
  /** Of one of several images in the archive, as it is called there. */
  readonly image?: string;
}

interface Wanted {
  readonly platform: Platform;
  readonly onKnown: OnKnownImage | undefined;
}

const PLATFORM: Platform = { os: "linux", architecture: "amd64" };

/** Fetches images of registries into the store: each image and each blob once, however many ask for it. */
export class ImagePulls implements AsyncDisposable {
  readonly #options: ImagePullsOptions;
  readonly #transport: HttpTransport;
  readonly #images = new SharedWork<PulledImage, ImagePullProgress>();
  readonly #archives = new SharedWork<StoredImage, ImagePullProgress>();
  readonly #blobs = new SharedWork<string, number>();
  readonly #slots = new Slots(LIMITS.registryDownloads);
  /** Where each registry sent us to log in; as long as this process lives. */
  readonly #realms = new Map<string, string>();

  constructor(options: ImagePullsOptions) {
    this.#options = options;
    this.#transport = new HttpTransport(options.transport);
  }

  /**
   * Pulls an image; a tag is looked up each time, what is here already is not fetched again. Whatever was fetched before
   * a failure, an abort or the end of the process is gone on with by the next pull.
   * @throws {PyroError} IMAGE_*, BLOB_*, REGISTRY_*, CONFIG_INVALID, DISK_FULL; or the signal's reason
   */
  async pull(reference: string | Reference, options: ImagePullOptions = {}): Promise<PulledImage> {
    const { defaultRegistry } = this.#options.registries ?? {};
    const wanted = typeof reference === "string" ? parseReference(reference, defaultRegistry) : reference;
    const platform = options.platform ?? PLATFORM;
    const key = `${formatReference(wanted)} ${formatPlatform(platform)}`;
    try {
      return await this.#images.run(
        key,
        options,
        async (signal, onProgress) =>
          await this.#pull(wanted, { platform, onKnown: options.onKnown }, signal, onProgress),
      );
    } catch (error) {
      options.signal?.throwIfAborted();
      throw PyroError.from(error);
    }
  }

  /**
   * Takes an image out of an archive of this host, as a pull does out of a registry: an OCI layout, as a directory or a tar.
   * What is here already is not read.
   * @throws {PyroError} IMAGE_*, BLOB_*, AMBIGUOUS_REFERENCE, DISK_FULL; or the signal's reason
   */
  async readArchive(path: string, options: ArchiveOptions = {}): Promise<StoredImage> {
    const { platform = PLATFORM, image, onKnown } = options;
    const key = JSON.stringify([path, formatPlatform(platform), image]);
    try {
      return await this.#archives.run(
        key,
        options,
        async (signal, onProgress) =>
          await this.#readArchive(path, { platform, image, onKnown }, signal, onProgress),
      );
    } catch (error) {
      options.signal?.throwIfAborted();
      throw PyroError.from(error);
    }
  }

  /** What is being fetched, for a prune that goes on meanwhile. */
  busy(): ReadonlySet<Digest> {
    return new Set(this.#blobs.keys().map((key) => key.split(" ")[0] as Digest));
  }

  /** Ends all pulls, and waits until nothing of them runs; the store may be closed then. */
  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new PyroError("CANCELLED", "the pull was ended: pyro is stopping", {
      hint: "pull again: what was fetched is kept",
      retryable: true,
    });
    await this.#images.close(ended);
    await this.#archives.close(ended);
    await this.#blobs.close(ended);
    await this.#transport[Symbol.asyncDispose]();
  }

  async #pull(
    reference: Reference,
    { platform, onKnown }: Wanted,
    outer: AbortSignal,
    onProgress: (progress: ImagePullProgress) => void,
  ): Promise<PulledImage> {
    const report = new ProgressReport(onProgress);
    const { signal, giveUp } = untilFailure(outer);
    const retry: RetryOptions = {
      ...this.#options.retry,
      onWait: (waitMs, because) => report.waiting(waitMs, because.message),
    };
    const repositories = this.#repositories(reference);
    return await pullImage(reference, platform, {
      store: this.#options.store,
      fetchDocument: (tagOrDigest) => fetchDocument(repositories, tagOrDigest, retry, signal),
      fetchBlob: (blob, tap) =>
        this.#fetchBlob(blob, report, signal, async (ours, onBytes) => {
          const { store } = this.#options;
          return await download(blob, { store, sources: repositories, retry, signal: ours, onBytes, tap });
        }),
      onLayers: (layers) => report.layers(layers),
      onKnown,
      giveUp,
    });
  }

  async #readArchive(
    path: string,
    { platform, image: name, onKnown }: Wanted & { readonly image: string | undefined },
    outer: AbortSignal,
    onProgress: (progress: ImagePullProgress) => void,
  ): Promise<StoredImage> {
    const { store } = this.#options;
    const report = new ProgressReport(onProgress);
    const { signal, giveUp } = untilFailure(outer);
    await using archive = await openArchive(path, signal);
    const { digest } = await chooseArchived(archive, platform, name, signal);
    const sources: PullSources = {
      store,
      fetchDocument: (wanted) => archivedDocument(archive, wanted as Digest, signal),
      fetchBlob: (blob, tap) =>
        this.#fetchBlob(blob, report, signal, (ours, onBytes) =>
          takeBlob(archive, blob, store, ours, onBytes, tap),
        ),
      onLayers: (layers) => report.layers(layers),
      onKnown,
      giveUp,
    };
    return (await storeImage(archive.name, digest, platform, sources)).image;
  }

  /** A repository's places, for one pull: tokens are not shared with others, realms are. */
  #repositories({ registry, repository }: Reference): Repository[] {
    const source = this.#options.credentials ?? (() => Promise.resolve(undefined));
    const transport = this.#transport;
    return endpointsOf(registry, this.#options.registries ?? {}).map((endpoint) => {
      const authorization = new Authorization({
        ...{ transport, endpoint, repository, source },
        realms: this.#realms,
      });
      return new Repository(new RepositoryRequests(transport, endpoint, repository, authorization));
    });
  }

  async #fetchBlob(
    { digest }: Descriptor,
    report: ProgressReport,
    signal: AbortSignal,
    get: (signal: AbortSignal, onBytes: (received: number) => void) => Promise<string>,
  ): Promise<{ path: string; reused: boolean }> {
    const { store } = this.#options;
    for (;;) {
      const here = await store.find(digest, signal);
      if (here !== undefined) {
        report.here(digest);
        return { path: here, reused: true };
      }
      const begun = { isOurs: false };
      try {
        const onProgress = (received: number): void => report.bytes(digest, received);
        const path = await this.#blobs.run(digest, { signal, onProgress }, async (ours, onBytes) => {
          begun.isOurs = true;
          using _slot = await this.#slots.take(ours);
          return await get(ours, onBytes);
        });
        report.here(digest);
        return { path, reused: false };
      } catch (error) {
        signal.throwIfAborted();
        // Another pull's sources failed: ours may not.
        if (begun.isOurs) throw error;
      }
    }
  }
}

/** A signal that the first failure of a part ends too. */
function untilFailure(outer: AbortSignal): { signal: AbortSignal; giveUp: (because: unknown) => void } {
  const failure = new AbortController();
  const signal = AbortSignal.any([outer, failure.signal]);
  // Every layer waits by it, and hashes what is here by it: Node would take that for a leak.
  setMaxListeners(4 * LIMITS.imageLayers, signal);
  return { signal, giveUp: (because) => failure.abort(because) };
}
