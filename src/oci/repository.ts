import { digestOf, isDigest, parseDigest, type Digest } from "./digest.js";
import { limit } from "./manifest.js";
import { ACCEPTED } from "./media-types.js";
import { digestMismatch } from "./blob-errors.js";
import { notFound, statusError } from "./registry-errors.js";
import type { Endpoint } from "./registries.js";
import type { RepositoryRequests } from "./requests.js";
import { discard, readAll, type HttpAnswer } from "./transport.js";
import { LIMITS } from "../protocol/index.js";
import { retried, type RetryOptions } from "./retries.js";

/** A manifest or an index as a registry gave it. */
export interface FetchedDocument {
  readonly bytes: Buffer;
  /** What the bytes are, not what the registry says of them. */
  readonly digest: Digest;
  readonly mediaType: string | undefined;
}

/** One repository at one endpoint, to read from (distribution-spec, "Pull"). Repeats nothing but what a 401 asks for. */
export class Repository {
  constructor(private readonly requests: RepositoryRequests) {}

  get endpoint(): Endpoint {
    return this.requests.endpoint;
  }

  get name(): string {
    return this.requests.name;
  }

  /**
   * A manifest by its tag or digest; by its digest it is proven.
   * @throws {PyroError} IMAGE_NOT_FOUND, IMAGE_LIMIT_EXCEEDED, BLOB_DIGEST_MISMATCH, and what a request does
   */
  async document(tagOrDigest: string, signal: AbortSignal): Promise<FetchedDocument> {
    const what = `${this.name}${tagOrDigest.includes(":") ? "@" : ":"}${tagOrDigest}`;
    const path = `manifests/${tagOrDigest}`;
    const answer = await this.requests.get(path, { accept: ACCEPTED }, signal);
    if (answer.status !== 200) {
      await discard(answer);
      if (answer.status === 404) throw notFound("IMAGE_NOT_FOUND", this.endpoint.name, what);
      throw statusError(this.endpoint.name, what, answer);
    }
    const bytes = await readAll(answer, this.requests.url(path), LIMITS.imageManifestBytes, signal);
    if (bytes === undefined) throw limit(what, "imageManifestBytes", "a manifest of more bytes");
    const digest = digestOf(bytes);
    // For a tag it is all there is to compare with. Where a digest was asked for, that alone counts.
    const expected = parseDigest(
      tagOrDigest.includes(":") ? tagOrDigest : (answer.header("docker-content-digest") ?? ""),
    );
    if (isDigest(expected) && expected !== digest) throw digestMismatch(what, expected, digest);
    const mediaType = answer.header("content-type")?.split(";")[0]?.trim().toLowerCase();
    return { bytes, digest, mediaType };
  }

  /**
   * The answer to a request for a blob, from a byte on: 200, 206 or 416, to be looked at by the caller.
   * @throws {PyroError} BLOB_NOT_FOUND, and what a request does
   */
  async blob(
    digest: Digest,
    from: number,
    etag: string | undefined,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const range = from === 0 ? {} : { range: `bytes=${from}-` };
    const condition = from === 0 || etag === undefined ? {} : { "if-range": etag };
    const answer = await this.requests.get(`blobs/${digest}`, { ...range, ...condition }, signal);
    if (answer.status === 200 || answer.status === 206 || answer.status === 416) return answer;
    await discard(answer);
    const what = `${this.name}@${digest}`;
    if (answer.status === 404) throw notFound("BLOB_NOT_FOUND", this.endpoint.name, what);
    throw statusError(this.endpoint.name, what, answer);
  }
}

/** From the first source that has it; the registry itself is the last, and its failure the one that is told. */
export async function fetchDocument(
  sources: readonly Repository[],
  tagOrDigest: string,
  retry: RetryOptions,
  signal: AbortSignal,
): Promise<FetchedDocument> {
  let failure: unknown;
  for (const source of sources) {
    try {
      return await retried(retry, signal, () => source.document(tagOrDigest, signal));
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
    }
  }
  throw failure;
}
