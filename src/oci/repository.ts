import type { Authorization } from "./authorization.js";
import { digestOf, isDigest, parseDigest, type Digest } from "./digest.js";
import { limit } from "./manifest.js";
import { ACCEPTED } from "./media-types.js";
import { digestMismatch } from "./blob-errors.js";
import { notFound, protocolError, redirectRefused, statusError } from "./registry-errors.js";
import { isLoopback, type Endpoint } from "./registries.js";
import { discard, readAll, type HttpAnswer, type HttpTransport } from "./transport.js";
import { LIMITS } from "../protocol/index.js";

/** A manifest or an index as a registry gave it. */
export interface FetchedDocument {
  readonly bytes: Buffer;
  /** What the bytes are, not what the registry says of them. */
  readonly digest: Digest;
  readonly mediaType: string | undefined;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** One repository at one endpoint, to read from (distribution-spec, "Pull"). Repeats nothing but what a 401 asks for. */
export class Repository {
  constructor(
    private readonly transport: HttpTransport,
    readonly endpoint: Endpoint,
    readonly name: string,
    private readonly authorization: Authorization,
  ) {}

  /**
   * A manifest by its tag or digest; by its digest it is proven.
   * @throws {PyroError} IMAGE_NOT_FOUND, IMAGE_LIMIT_EXCEEDED, BLOB_DIGEST_MISMATCH, and what `get` does
   */
  async document(tagOrDigest: string, signal: AbortSignal): Promise<FetchedDocument> {
    const what = `${this.name}${tagOrDigest.includes(":") ? "@" : ":"}${tagOrDigest}`;
    const path = `manifests/${tagOrDigest}`;
    const answer = await this.#get(path, { accept: ACCEPTED }, signal);
    if (answer.status !== 200) {
      await discard(answer);
      if (answer.status === 404) throw notFound("IMAGE_NOT_FOUND", this.endpoint.name, what);
      throw statusError(this.endpoint.name, what, answer);
    }
    const bytes = await readAll(answer, this.#url(path), LIMITS.imageManifestBytes, signal);
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
   * @throws {PyroError} BLOB_NOT_FOUND, and what `get` does
   */
  async blob(
    digest: Digest,
    from: number,
    etag: string | undefined,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const range = from === 0 ? {} : { range: `bytes=${from}-` };
    const condition = from === 0 || etag === undefined ? {} : { "if-range": etag };
    const answer = await this.#get(`blobs/${digest}`, { ...range, ...condition }, signal);
    if (answer.status === 200 || answer.status === 206 || answer.status === 416) return answer;
    await discard(answer);
    const what = `${this.name}@${digest}`;
    if (answer.status === 404) throw notFound("BLOB_NOT_FOUND", this.endpoint.name, what);
    throw statusError(this.endpoint.name, what, answer);
  }

  #url(path: string): URL {
    return new URL(`${this.endpoint.base}/v2/${this.name}/${path}`);
  }

  /**
   * One request, and the same once more where the endpoint itself wants to know who asks.
   * @throws {PyroError} what the transport and the authorization do; REGISTRY_REDIRECT_REFUSED
   */
  async #get(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<HttpAnswer> {
    for (let asked = false; ; asked = true) {
      const authorization = await this.authorization.header(signal);
      const { answer, isOwn } = await this.#follow(this.#url(path), headers, authorization, signal);
      // What another place asks for is not answered: credentials are for the registry.
      if (answer.status !== 401 || !isOwn || asked) return answer;
      await discard(answer);
      await this.authorization.answer(answer.headers("www-authenticate"), authorization, signal);
    }
  }

  /** Follows redirects; once one leads away from the endpoint, the authorization does not go along any more. */
  async #follow(
    start: URL,
    headers: Record<string, string>,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<{ answer: HttpAnswer; isOwn: boolean }> {
    let url = start;
    let isOwn = true;
    for (let hops = 0; hops <= LIMITS.registryRedirects; hops++) {
      const own = isOwn && authorization !== undefined ? { authorization } : {};
      const answer = await this.transport.send({ url, headers: { ...headers, ...own }, signal });
      if (!REDIRECTS.has(answer.status)) return { answer, isOwn };
      await discard(answer);
      url = this.#checkTarget(answer.header("location"), url);
      isOwn &&= url.origin === start.origin;
    }
    throw redirectRefused(this.endpoint.name, `more than ${LIMITS.registryRedirects} times`);
  }

  #checkTarget(location: string | undefined, from: URL): URL {
    const { name, base } = this.endpoint;
    if (location === undefined || !URL.canParse(location, from.href))
      throw protocolError(name, "it redirects nowhere");
    const target = new URL(location, from);
    const own = new URL(base);
    if (target.username !== "" || target.password !== "")
      throw redirectRefused(name, "with credentials in the address");
    if (isLoopback(target) && !isLoopback(own)) throw redirectRefused(name, `${target.host} is this machine`);
    const isPlainAllowed = own.protocol === "http:" && (target.origin === own.origin || isLoopback(target));
    if (target.protocol === "https:" || (target.protocol === "http:" && isPlainAllowed)) return target;
    throw redirectRefused(name, `${target.host} has no TLS`);
  }
}
