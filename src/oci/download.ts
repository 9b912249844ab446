import { LIMITS, PyroError } from "../protocol/index.js";
import { sizeMismatch, truncated } from "./blob-errors.js";
import type { BlobStore } from "./blob-store.js";
import type { BlobTap } from "./blob-tap.js";
import type { Descriptor } from "./manifest.js";
import type { PartialBlob } from "./partial-blob.js";
import { protocolError } from "./registry-errors.js";
import type { Repository } from "./repository.js";
import { Retries, type RetryOptions } from "./retries.js";
import { discard, type HttpAnswer } from "./transport.js";

export interface DownloadOptions {
  readonly store: BlobStore;
  /** Where it is to be had, in order: each is asked when the one before it failed. */
  readonly sources: readonly Repository[];
  readonly retry: RetryOptions;
  readonly signal: AbortSignal;
  /** How many bytes there are, those of earlier downloads included; falls back to 0 where they were of no use. */
  readonly onBytes: (received: number) => void;
  readonly tap?: BlobTap | undefined;
}

/**
 * Fetches a blob into the store, from where an earlier download of it ended. Its bytes go to the disk as they come, at
 * most `sizeBytes`; a digest that is not its own is never given a place.
 * @throws {PyroError} BLOB_NOT_FOUND, BLOB_DIGEST_MISMATCH, BLOB_SIZE_MISMATCH, BLOB_TRUNCATED, and what a request throws;
 *   what was fetched is kept where that may be of use
 */
export async function download(descriptor: Descriptor, options: DownloadOptions): Promise<string> {
  const { store, sources, signal } = options;
  const target = store.pathOf(descriptor.digest);
  await using partial = await store.partial(descriptor.digest, descriptor.sizeBytes, signal, options.tap);
  options.onBytes(partial.received);
  let failure: unknown;
  for (const source of sources) {
    try {
      await new Download(source, partial, target, options).run();
      return target;
    } catch (error) {
      signal.throwIfAborted();
      // Of this host's disk: no other source mends that.
      if (!(error instanceof PyroError)) throw error;
      failure = error;
    }
  }
  throw failure;
}

/** How often a download begins anew because what it goes on with, or what it gets, may not belong together. */
const DOUBTS = 2;

/** One blob from one source. */
class Download {
  /** Of this source's answers, to go on with the same content; unknown at first. */
  #etag: string | undefined;
  /** Bytes that came before this source's latest answer: where the whole is wrong, they are what is doubted first. */
  #resumedAt = 0;
  readonly #retries: Retries;
  /** The most that there ever was: only what goes beyond it counts as getting on. */
  #countedAt: number;
  #doubts = 0;

  constructor(
    private readonly source: Repository,
    private readonly partial: PartialBlob,
    private readonly target: string,
    private readonly options: DownloadOptions,
  ) {
    this.#retries = new Retries(options.retry, options.signal);
    this.#countedAt = partial.received;
  }

  async run(): Promise<void> {
    const { partial } = this;
    for (;;) {
      this.#resumedAt = partial.received;
      if (partial.received < partial.sizeBytes && !(await this.#receive())) continue;
      try {
        await partial.seal(this.target);
        return;
      } catch (error) {
        // Bytes of different times, or different servers, need not make one blob: from the beginning then.
        if (!(error instanceof PyroError) || this.#resumedAt === 0 || ++this.#doubts > DOUBTS) throw error;
        await this.#restart();
      }
    }
  }

  /** Takes in one answer; false where there has to be another. */
  async #receive(): Promise<boolean> {
    const { source, partial } = this;
    const { digest, sizeBytes } = partial;
    try {
      const answer = await source.blob(digest, partial.received, this.#etag, this.options.signal);
      if (!(await this.#fits(answer))) {
        await discard(answer);
        const unasked = partial.received === 0;
        await this.#restart();
        if (!unasked && ++this.#doubts <= DOUBTS) return false;
        throw protocolError(
          source.endpoint.name,
          "the parts of a blob that it gives are not those that were asked for",
        );
      }
      this.#etag = strongEtag(answer);
      await this.#take(answer);
      return true;
    } catch (error) {
      if (error instanceof PyroError && error.code === "BLOB_SIZE_MISMATCH") await partial.restart();
      const isCut = error instanceof PyroError && error.code === "BLOB_TRUNCATED";
      await this.#retries.after(isCut ? truncated(digest, sizeBytes, partial.received) : error);
      return false;
    }
  }

  /** Whether an answer's bytes belong behind those that are here; where they are the whole, those are forgotten. */
  async #fits(answer: HttpAnswer): Promise<boolean> {
    const { partial } = this;
    const { received, sizeBytes } = partial;
    if (answer.status === 206) {
      const etag = strongEtag(answer);
      if (this.#etag !== undefined && etag !== undefined && etag !== this.#etag) return false;
      const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(answer.header("content-range") ?? "");
      if (received === 0 || Number(range?.[1]) !== received) return false;
      if (range?.[3] !== "*" && Number(range?.[3]) !== sizeBytes) {
        await discard(answer);
        throw sizeMismatch(partial.digest, sizeBytes, Number(range?.[3]));
      }
      return true;
    }
    if (answer.status !== 200) return false;
    if (received > 0) await this.#restart();
    const length = answer.header("content-length");
    if (length !== undefined && Number(length) !== sizeBytes) {
      await discard(answer);
      throw sizeMismatch(partial.digest, sizeBytes, Number(length) > sizeBytes ? "more" : Number(length));
    }
    return true;
  }

  async #take(answer: HttpAnswer): Promise<void> {
    const { partial, options } = this;
    try {
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        await partial.append(chunk);
        options.onBytes(partial.received);
        if (partial.received - this.#countedAt < LIMITS.registryProgressBytes) continue;
        this.#countedAt = partial.received;
        this.#retries.gotOn();
      }
    } catch (error) {
      answer.body.destroy();
      options.signal.throwIfAborted();
      if (error instanceof PyroError || isOfDisk(error)) throw error;
      throw truncated(partial.digest, partial.sizeBytes, partial.received);
    }
    if (partial.received === partial.sizeBytes) return;
    // A server may give less of a range than was asked for (RFC 9110 section 14.2).
    if (answer.status === 206) throw truncated(partial.digest, partial.sizeBytes, partial.received);
    throw sizeMismatch(partial.digest, partial.sizeBytes, partial.received);
  }

  async #restart(): Promise<void> {
    this.#etag = undefined;
    this.#resumedAt = 0;
    await this.partial.restart();
    this.options.onBytes(0);
  }
}

/** Weak ones say nothing of bytes (RFC 9110 section 8.8.1). */
function strongEtag(answer: HttpAnswer): string | undefined {
  const etag = answer.header("etag");
  return etag?.startsWith('"') === true ? etag : undefined;
}

/** Errors of the system about files have a path or a call on a descriptor; those of connections come from undici. */
function isOfDisk(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return syscall === "write" && /^(ENOSPC|EDQUOT|EFBIG|EIO|EROFS)$/.test(code ?? "");
}
