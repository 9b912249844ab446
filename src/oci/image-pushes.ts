import { failpoint, shown } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { Authorization } from "./authorization.js";
import type { CredentialSource } from "./credentials.js";
import type { Digest } from "./digest.js";
import type { LocalImage } from "./image-document.js";
import { PushRepository } from "./push-repository.js";
import { formatReference, parseReference, type Reference } from "./reference.js";
import { DEFAULT_REGISTRY, endpointsOf, type RegistrySettings } from "./registries.js";
import { RepositoryRequests } from "./requests.js";
import { retried, type RetryOptions } from "./retries.js";
import { HttpTransport, type TransportOptions } from "./transport.js";
import { upload, type LocalBlob } from "./upload.js";

export interface ImagePushesOptions {
  /** Mirrors are not looked at: what is pushed goes to the registry itself. */
  readonly registries?: RegistrySettings;
  /** The user's logins; none by default. */
  readonly credentials?: CredentialSource;
  readonly transport?: TransportOptions;
  readonly retry?: RetryOptions;
}

/** How far the push of an image is. */
export interface ImagePushProgress {
  /** Of all blobs, those included that the registry has. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** Why nothing goes out at the moment, and for how long. */
  readonly waiting?: { readonly waitMs: number; readonly because: string };
}

export interface ImagePushOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: ImagePushProgress) => void;
}

export interface PushedImage {
  /** In its one spelling, with registry and tag. */
  readonly reference: string;
  /** Of its manifest. */
  readonly digest: Digest;
  /** Of its layers, as they are packed. */
  readonly sizeBytes: number;
  /** What of it the registry did not have. */
  readonly uploadedBytes: number;
}

/** A blob that no registry has: what an upload is begun with that is only to show whether one may push. */
const PROBE = `sha256:${"0".repeat(64)}` as Digest;

/** Told this often at most. */
const EVERY_MS = 100;

/**
 * Reads the reference of an image to be pushed.
 * @throws {PyroError} IMAGE_REFERENCE_INVALID; also for one with a digest, and for one that leaves out whose it is
 */
export function parsePushReference(text: string, defaultRegistry?: string): Reference & { tag: string } {
  const reference = parseReference(text, defaultRegistry);
  const { registry, repository, tag = "latest", digest } = reference;
  if (digest !== undefined) {
    throw invalid(
      text,
      "an image is pushed under a tag: its digest shows then",
      `name a tag: ${formatReference({ ...reference, tag, digest: undefined })}`,
    );
  }
  if (registry === DEFAULT_REGISTRY && repository.startsWith("library/")) {
    const name = repository.slice("library/".length);
    throw invalid(
      text,
      "it names no registry, and no owner",
      `name both: registry.example.org/team/${name}:${tag}`,
    );
  }
  return { ...reference, tag };
}

/** Puts images into registries. What a failed, an ended or a killed push has sent is there, nameless: the next skips it. */
export class ImagePushes implements AsyncDisposable {
  readonly #options: ImagePushesOptions;
  readonly #transport: HttpTransport;
  /** Where each registry sent us to log in; as long as this process lives. */
  readonly #realms = new Map<string, string>();

  constructor(options: ImagePushesOptions) {
    this.#options = options;
    this.#transport = new HttpTransport(options.transport);
  }

  /**
   * Finds out whether one may push there, before anything is made that takes time: begins an upload, and gives it up.
   * @throws {PyroError} REGISTRY_*
   */
  async check(reference: Reference, signal: AbortSignal): Promise<void> {
    const target = this.#target(reference);
    const probe = { mediaType: "", digest: PROBE, sizeBytes: 0 };
    const retry = this.#options.retry ?? {};
    const session = await retried(retry, signal, () => target.begin(probe, undefined, signal));
    if (session !== undefined) await target.cancel(session, signal);
  }

  /**
   * Pushes an image: its blobs, but those that the registry has, and then its manifest, which alone gives it its name.
   * @throws {PyroError} REGISTRY_*, BLOB_DIGEST_MISMATCH; or the signal's reason
   */
  async push(
    reference: Reference & { tag: string },
    image: LocalImage,
    { signal, onProgress }: ImagePushOptions,
  ): Promise<PushedImage> {
    const blobs = [...new Map([...image.layers, image.config].map((blob) => [blob.digest, blob])).values()];
    const report = new Report(blobs, onProgress);
    const retry = {
      ...this.#options.retry,
      onWait: (waitMs: number, because: PyroError) => report.tell({ waitMs, because: because.message }),
    };
    const target = this.#target(reference);
    const { origin } = image;
    const mountFrom =
      origin?.registry === reference.registry && origin.repository !== reference.repository
        ? origin.repository
        : undefined;
    let uploadedBytes = 0;
    try {
      for (const blob of blobs) {
        const onBytes = (sent: number): void => report.sent(blob.digest, sent);
        const isNew = await upload(blob, { target, mountFrom, retry, signal, onBytes });
        if (isNew) uploadedBytes += blob.sizeBytes;
      }
      const { manifest } = image;
      await retried(retry, signal, () => target.manifest(reference.tag, manifest, manifest.bytes, signal));
      failpoint("push.named");
    } catch (error) {
      signal.throwIfAborted();
      throw PyroError.from(error);
    }
    const sizeBytes = image.layers.reduce((sum, layer) => sum + layer.sizeBytes, 0);
    return { reference: formatReference(reference), digest: image.manifest.digest, sizeBytes, uploadedBytes };
  }

  /** Ends what is on its way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]();
  }

  #target(reference: Reference): PushRepository {
    const { registries = {}, credentials = () => Promise.resolve(undefined) } = this.#options;
    const { registry, repository } = reference;
    const [endpoint] = endpointsOf(registry, { ...registries, mirrors: {} });
    // It always has the registry itself.
    if (endpoint === undefined) throw new Error(`no endpoint of ${registry}`);
    const transport = this.#transport;
    const authorization = new Authorization({
      ...{ transport, endpoint, repository, source: credentials },
      actions: "pull,push",
      realms: this.#realms,
    });
    const requests = new RepositoryRequests(transport, endpoint, repository, authorization);
    return new PushRepository(requests, formatReference(reference).slice(registry.length + 1));
  }
}

class Report {
  readonly #done = new Map<Digest, number>();
  readonly #total: number;
  #toldMs = -Infinity;

  constructor(
    blobs: readonly LocalBlob[],
    private readonly onProgress: ImagePushOptions["onProgress"],
  ) {
    this.#total = blobs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    this.tell();
  }

  sent(digest: Digest, bytes: number): void {
    this.#done.set(digest, bytes);
    if (performance.now() - this.#toldMs >= EVERY_MS || this.#bytesDone === this.#total) this.tell();
  }

  tell(waiting?: ImagePushProgress["waiting"]): void {
    this.#toldMs = performance.now();
    const progress = { bytesDone: this.#bytesDone, bytesTotal: this.#total };
    this.onProgress?.({ ...progress, ...(waiting === undefined ? {} : { waiting }) });
  }

  get #bytesDone(): number {
    return [...this.#done.values()].reduce((sum, bytes) => sum + bytes, 0);
  }
}

function invalid(text: string, problem: string, hint: string): PyroError {
  return new PyroError("IMAGE_REFERENCE_INVALID", `${shown(text)} is no place to push to: ${problem}`, {
    hint,
    details: { reference: text.slice(0, 255), problem },
  });
}
