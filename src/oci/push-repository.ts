import type { Readable } from "node:stream";
import { LIMITS, PyroError } from "../protocol/index.js";
import { isDigest, parseDigest, shortDigest } from "./digest.js";
import type { Descriptor } from "./manifest.js";
import { pushError, type Pushing } from "./push-errors.js";
import { protocolError } from "./registry-errors.js";
import type { ChangingRequest, RepositoryRequests } from "./requests.js";
import { discard, type HttpAnswer } from "./transport.js";

/** An upload that the registry has begun. Each answer may say another place for what comes next. */
export interface UploadSession {
  readonly location: URL;
  /** Bytes that the registry has. */
  readonly received: number;
}

/** One repository at its registry, to write to (distribution-spec, "Push"). Repeats nothing but what a 401 asks for. */
export class PushRepository {
  constructor(
    private readonly requests: RepositoryRequests,
    /** As messages name the image: "team/tool:1". */
    private readonly image: string,
  ) {}

  get registry(): string {
    return this.requests.endpoint.name;
  }

  /** Whether the registry has a blob; false too where it does not say. @throws {PyroError} REGISTRY_* */
  async has(blob: Descriptor, signal: AbortSignal): Promise<boolean> {
    const url = this.requests.url(`blobs/${blob.digest}`);
    const answer = await this.requests.send({ method: "HEAD", url }, signal);
    await discard(answer);
    if (answer.status === 429 || answer.status >= 500) throw await this.#error(blob, answer, url, signal);
    return answer.status === 200;
  }

  /**
   * Begins an upload. Where the blob may be in another repository of the registry, it asks for it from there first.
   * @returns undefined where the registry has it now
   * @throws {PyroError} REGISTRY_*
   */
  async begin(
    blob: Descriptor,
    from: string | undefined,
    signal: AbortSignal,
  ): Promise<UploadSession | undefined> {
    const url = this.requests.url("blobs/uploads/");
    if (from !== undefined) {
      url.searchParams.set("mount", blob.digest);
      url.searchParams.set("from", from);
    }
    const answer = await this.#send(blob, { method: "POST", url, body: () => NOTHING }, [201, 202], signal);
    return answer.status === 201 ? undefined : this.#session(answer, url, 0);
  }

  /** Sends the rest of a blob. @throws {PyroError} REGISTRY_*, BLOB_DIGEST_MISMATCH */
  async append(
    blob: Descriptor,
    { location, received }: UploadSession,
    body: () => Readable,
    signal: AbortSignal,
  ): Promise<UploadSession> {
    const headers = {
      "content-type": "application/octet-stream",
      "content-length": String(blob.sizeBytes - received),
      // Without it the request is a whole upload, as all registries take it.
      ...(received === 0 ? {} : { "content-range": `${received}-${blob.sizeBytes - 1}` }),
    };
    const headersMs = LIMITS.registryCommitMs;
    const request = { method: "PATCH", url: location, headers, body, headersMs } as const;
    const answer = await this.#send(blob, request, [202, 201, 204], signal);
    return this.#session(answer, location, blob.sizeBytes);
  }

  /** How far an upload is that was broken off; undefined where the registry does not know it any more. */
  async status({ location }: UploadSession, signal: AbortSignal): Promise<UploadSession | undefined> {
    const answer = await this.requests.send({ method: "GET", url: location }, signal);
    await discard(answer);
    if (answer.status !== 204) return undefined;
    const last = /^(?:bytes=)?0-(\d+)$/.exec(answer.header("range") ?? "")?.[1];
    return last === undefined ? undefined : this.#session(answer, location, Number(last) + 1);
  }

  /** Makes a blob of what was sent. @throws {PyroError} REGISTRY_*, BLOB_DIGEST_MISMATCH */
  async finish(blob: Descriptor, { location }: UploadSession, signal: AbortSignal): Promise<void> {
    // The query is the registry's own: not a byte of it is written anew.
    const query = location.search === "" ? "?" : `${location.search}&`;
    const url = new URL(
      `${location.origin}${location.pathname}${query}digest=${encodeURIComponent(blob.digest)}`,
    );
    const headersMs = LIMITS.registryCommitMs;
    await this.#send(blob, { method: "PUT", url, body: () => NOTHING, headersMs }, [201, 204], signal);
  }

  /** Gives an upload up; where that fails the registry forgets it by itself some time. */
  async cancel({ location }: UploadSession, signal: AbortSignal): Promise<void> {
    const answer = await this.requests
      .send({ method: "DELETE", url: location }, signal)
      .catch(() => undefined);
    if (answer !== undefined) await discard(answer);
    signal.throwIfAborted();
  }

  /** Gives the image its name, which is the last step. @throws {PyroError} REGISTRY_*, BLOB_DIGEST_MISMATCH */
  async manifest(
    tag: string,
    { digest, mediaType }: Descriptor,
    bytes: Uint8Array,
    signal: AbortSignal,
  ): Promise<void> {
    const url = this.requests.url(`manifests/${tag}`);
    const request = {
      method: "PUT",
      url,
      headers: { "content-type": mediaType },
      body: () => bytes,
    } as const;
    const answer = await this.requests.send(request, signal);
    if (answer.status !== 201)
      throw await pushError(this.#pushing("the manifest", bytes.length), answer, url, signal);
    await discard(answer);
    const told = parseDigest(answer.header("docker-content-digest") ?? "");
    if (!isDigest(told) || told === digest) return;
    throw new PyroError(
      "BLOB_DIGEST_MISMATCH",
      `${this.registry} has another manifest of ${this.image} than was sent`,
      {
        hint: "push again; if it stays so, look at what is between this host and the registry",
        details: { expected: digest, found: told },
      },
    );
  }

  async #send(
    blob: Descriptor,
    request: ChangingRequest,
    good: readonly number[],
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const answer = await this.requests.send(request, signal);
    if (!good.includes(answer.status)) throw await this.#error(blob, answer, request.url, signal);
    await discard(answer);
    return answer;
  }

  async #error(blob: Descriptor, answer: HttpAnswer, url: URL, signal: AbortSignal): Promise<PyroError> {
    return await pushError(
      this.#pushing(`the blob ${shortDigest(blob.digest)}`, blob.sizeBytes),
      answer,
      url,
      signal,
    );
  }

  #pushing(part: string, sizeBytes: number): Pushing {
    return { registry: this.registry, image: this.image, part, sizeBytes };
  }

  #session(answer: HttpAnswer, from: URL, received: number): UploadSession {
    if (answer.header("location") === undefined) {
      // One that says nothing new goes on where it was, but not where it began.
      if (received > 0) return { location: from, received };
      throw protocolError(this.registry, "it does not say where an upload goes");
    }
    return { location: this.requests.located(answer, from), received };
  }
}

const NOTHING = new Uint8Array(0);
