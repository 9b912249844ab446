import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { failpoint } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { Descriptor } from "./manifest.js";
import type { PushRepository, UploadSession } from "./push-repository.js";
import { Retries, type RetryOptions } from "./retries.js";

/** A blob that is here, whole, and is not changed. */
export interface LocalBlob extends Descriptor {
  readonly content: { readonly path: string } | Uint8Array;
}

export interface UploadOptions {
  readonly target: PushRepository;
  /** A repository of the same registry that may have it. */
  readonly mountFrom?: string | undefined;
  readonly retry: RetryOptions;
  readonly signal: AbortSignal;
  /** How much of it was sent; falls back where an upload begins anew. */
  readonly onBytes: (sent: number) => void;
}

/**
 * Makes sure that a registry has a blob: looks first, and sends what is missing, from where a broken upload ended if the
 * registry can say that.
 * @returns whether anything had to be sent
 * @throws {PyroError} REGISTRY_*, BLOB_DIGEST_MISMATCH; or the signal's reason
 */
export async function upload(blob: LocalBlob, options: UploadOptions): Promise<boolean> {
  return await new Upload(blob, options).run();
}

class Upload {
  #session: UploadSession | undefined;
  #sent = false;
  /** The most that was ever sent: only what goes beyond it counts as getting on. */
  #countedAt = 0;
  /** This host's file could not be read: no registry is to blame. */
  #readError: unknown;
  readonly #retries: Retries;

  constructor(
    private readonly blob: LocalBlob,
    private readonly options: UploadOptions,
  ) {
    this.#retries = new Retries(options.retry, options.signal);
  }

  async run(): Promise<boolean> {
    for (;;) {
      try {
        await this.#attempt();
        this.options.onBytes(this.blob.sizeBytes);
        return this.#sent;
      } catch (error) {
        await this.#retries.after(this.#readError ?? error);
        await this.#lookBack(error);
      }
    }
  }

  async #attempt(): Promise<void> {
    const { blob } = this;
    const { target, mountFrom, signal } = this.options;
    if (this.#session === undefined) {
      // Also after a failure: what an answer was lost of may be there.
      if (await target.has(blob, signal)) return;
      this.#session = await target.begin(blob, mountFrom, signal);
      if (this.#session === undefined) return;
    }
    this.#sent = true;
    const session = this.#session;
    const whole = session.received === blob.sizeBytes;
    const ended = whole
      ? session
      : await target.append(blob, session, () => this.#body(session.received), signal);
    this.#session = ended;
    await target.finish(blob, ended, signal);
    failpoint("push.sent");
  }

  /** After a failure: where the registry says how far the upload is, it goes on there. */
  async #lookBack(error: unknown): Promise<void> {
    const { target, signal } = this.options;
    const session = this.#session;
    this.#session = undefined;
    const isDamaged = error instanceof PyroError && error.code === "BLOB_DIGEST_MISMATCH";
    if (session === undefined || isDamaged) return;
    const now = await target.status(session, signal).catch(() => undefined);
    signal.throwIfAborted();
    if (now === undefined || now.received > this.blob.sizeBytes) return;
    this.#session = now;
  }

  #body(from: number): Readable {
    return Readable.from(this.#counted(from), { objectMode: false });
  }

  async *#counted(from: number): AsyncGenerator<Uint8Array> {
    const { sizeBytes } = this.blob;
    let at = from;
    for await (const chunk of this.#read(from)) {
      yield chunk;
      at += chunk.length;
      failpoint("push.sending");
      this.options.onBytes(at);
      if (at - this.#countedAt < LIMITS.registryProgressBytes) continue;
      this.#countedAt = at;
      this.#retries.gotOn();
    }
    if (at === sizeBytes) return;
    this.#readError = new PyroError("INTERNAL", `a file of ${sizeBytes} bytes to be pushed has ${at}`, {
      hint: "nobody may change pyro's cache while it works: try again",
    });
    throw this.#readError as PyroError;
  }

  /** By itself, so that an error of the connection, which is thrown into whoever reads, is not taken for the file's. */
  async *#read(from: number): AsyncGenerator<Uint8Array> {
    const { content } = this.blob;
    try {
      if (content instanceof Uint8Array) yield content.subarray(from);
      else yield* chunksOf(content.path, from);
    } catch (error) {
      this.#readError = error;
      throw error;
    }
  }
}

async function* chunksOf(path: string, from: number): AsyncGenerator<Uint8Array> {
  const file = createReadStream(path, { start: from, highWaterMark: 256 * 1024 });
  for await (const chunk of file as AsyncIterable<Buffer>) yield chunk;
}
