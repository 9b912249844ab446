import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { PassThrough, type Transform } from "node:stream";
import * as zlib from "node:zlib";
import type { BlobTap, Compression, KnownLayer } from "../oci/index.js";
import { PyroError } from "../protocol/index.js";
import type { BuildLayer } from "./builder.js";

/** A tar as it is, by its media type. */
const PLAIN = "application/vnd.oci.image.layer.v1.tar";
/** The bounds that the builder has too (guest/internal/layer/limits.go): twice the disk of an environment, … */
export const TAR_BYTES_MAX = 32 * 1024 ** 3;
/** … and so many times a layer's packed bytes, once it has RATIO_FREE_BYTES. */
const RATIO_MAX = 200;
const RATIO_FREE_BYTES = 1024 ** 3;
const CHUNK_BYTES = 1024 * 1024;
/** What may wait before and behind the decompressor, so that receiving, decompressing and writing go on side by side. */
const BUFFER_BYTES = 4 * CHUNK_BYTES;

/** What one layer's tar is written to. */
export interface TarPlace {
  readonly file: FileHandle;
  /** Where it begins. */
  readonly offsetBytes: number;
  /** Of the layer, from 1, for messages. */
  readonly number: number;
  /** Told how much of it there is; throws where all layers together have become too large. */
  readonly onBytes: (bytes: number) => void;
}

/** How many bytes a layer's tar can have at most. */
export function tarBytesMost({ compression, sizeBytes }: KnownLayer): number {
  if (decompressorOf(compression) === undefined) return sizeBytes;
  return Math.min(TAR_BYTES_MAX, Math.max(RATIO_FREE_BYTES, RATIO_MAX * (sizeBytes + 1)));
}

/**
 * One layer, of its packed bytes as they come: what is not packed, or what this Node cannot unpack, is written as it is.
 * Nothing is said of it before `end`.
 */
export class TarStream implements BlobTap {
  #run: Run;

  constructor(
    private readonly layer: KnownLayer,
    private readonly place: TarPlace,
  ) {
    this.#run = new Run(layer, place);
  }

  async take(chunk: Uint8Array): Promise<void> {
    await this.#run.take(chunk);
  }

  async restart(): Promise<void> {
    await this.#run.stop();
    this.#run = new Run(this.layer, this.place);
  }

  /**
   * Waits until all is written.
   * @returns the tar, proven by its diff ID, or what the builder has to prove
   * @throws {PyroError} IMAGE_LAYER_INVALID, IMAGE_LIMIT_EXCEEDED, IMAGE_DIFF_ID_MISMATCH; what writing fails with
   */
  async end(path: string): Promise<BuildLayer> {
    return { path, offsetBytes: this.place.offsetBytes, ...(await this.#run.end()) };
  }

  /** Ends it, however far it is; what comes after is not looked at. */
  async close(): Promise<void> {
    await this.#run.stop();
  }
}

/** From a layer's first byte on, until it ends or begins anew. */
class Run {
  readonly #unpacking: Transform;
  readonly #unpacks: boolean;
  readonly #hash = createHash("sha256");
  readonly #over: Promise<void>;
  #failure: Error | undefined;
  #packedBytes = 0;
  #bytes = 0;

  constructor(
    private readonly layer: KnownLayer,
    private readonly place: TarPlace,
  ) {
    const decompressor = decompressorOf(layer.compression);
    this.#unpacks = decompressor !== undefined;
    this.#unpacking =
      decompressor?.({ chunkSize: CHUNK_BYTES, highWaterMark: BUFFER_BYTES }) ??
      new PassThrough({ highWaterMark: BUFFER_BYTES });
    this.#over = this.#write().catch((error: unknown) => {
      this.#failure ??= error as Error;
      this.#unpacking.destroy();
    });
  }

  async take(chunk: Uint8Array): Promise<void> {
    if (this.#unpacking.destroyed) return;
    this.#packedBytes += chunk.length;
    if (this.#unpacking.write(chunk)) return;
    const drained = new Promise<void>((resolve) => this.#unpacking.once("drain", resolve));
    await Promise.race([drained, this.#over]);
  }

  async stop(): Promise<void> {
    this.#failure ??= new Error("it was ended early");
    this.#unpacking.destroy();
    await this.#over;
  }

  async end(): Promise<Pick<BuildLayer, "sizeBytes" | "blob">> {
    this.#unpacking.end();
    await this.#over;
    const { number } = this.place;
    const failure = this.#failure;
    if (failure !== undefined) throw isZlibError(failure) ? invalid(number, failure.message) : failure;
    const { layer } = this;
    if (this.#packedBytes !== layer.sizeBytes) throw cut(number);
    if (!this.#unpacks) return { sizeBytes: this.#bytes, blob: asStored(layer) };
    const found = `sha256:${this.#hash.digest("hex")}`;
    if (found !== layer.diffId) throw otherTar(number, found, layer.diffId);
    return { sizeBytes: this.#bytes, blob: { mediaType: PLAIN } };
  }

  async #write(): Promise<void> {
    const { file, offsetBytes, number, onBytes } = this.place;
    const most = tarBytesMost(this.layer);
    for await (const chunk of this.#unpacking as AsyncIterable<Buffer>) {
      if (this.#unpacks) this.#hash.update(chunk);
      const at = offsetBytes + this.#bytes;
      this.#bytes += chunk.length;
      onBytes(this.#bytes);
      const isBomb = this.#bytes > RATIO_FREE_BYTES && this.#bytes / RATIO_MAX > this.#packedBytes;
      if ((this.#unpacks && isBomb) || this.#bytes > most) throw tooLarge(number, "ratio");
      for (let done = 0; done < chunk.length;) {
        done += (await file.write(chunk, done, chunk.length - done, at + done)).bytesWritten;
      }
    }
  }
}

/** What makes a decompressor, as far as this Node can; undefined also for what is not compressed. */
function decompressorOf(compression: Compression): ((options: object) => Transform) | undefined {
  if (compression === "gzip") return zlib.createGunzip;
  const { createZstdDecompress } = zlib as { createZstdDecompress?: (options: object) => Transform };
  return compression === "zstd" ? createZstdDecompress : undefined;
}

/** As the registry has it: the digest of a plain tar, which the store has proven, is its diff ID. */
function asStored({ mediaType, digest, diffId, compression }: KnownLayer): BuildLayer["blob"] & object {
  const isProven = compression === "none" && digest === diffId;
  return isProven ? { mediaType } : { mediaType, digest, diffId };
}

const OTHER_IMAGE =
  "ask who made the image, or use another one: another tag, or the same of another registry";

/** Codes of zlib's and zstd's own begin with Z (zlib.h, zstd_errors.h). */
function isZlibError(error: Error): boolean {
  return (error as NodeJS.ErrnoException).code?.startsWith("Z") === true;
}

function invalid(number: number, reason: string): PyroError {
  return new PyroError("IMAGE_LAYER_INVALID", `layer ${number}: it cannot be unpacked: ${reason}`, {
    hint: OTHER_IMAGE,
  });
}

function cut(number: number): PyroError {
  return new PyroError("ENVIRONMENT_BUILD_FAILED", `layer ${number} changed while it was read`, {
    hint: "try again: what was changed is fetched anew",
    retryable: true,
  });
}

function otherTar(number: number, found: string, diffId: string): PyroError {
  return new PyroError(
    "IMAGE_DIFF_ID_MISMATCH",
    `layer ${number}: its tar has the digest ${found}, and by the image's configuration should have ${diffId}`,
    { hint: OTHER_IMAGE },
  );
}

export function tooLarge(number: number, limit: "image_bytes" | "ratio"): PyroError {
  const what =
    limit === "image_bytes"
      ? `the layers of the image are larger than ${TAR_BYTES_MAX / 1024 ** 3} GiB together`
      : `it is larger than ${RATIO_FREE_BYTES / 1024 ** 3} GiB and ${RATIO_MAX} times its compressed bytes`;
  return new PyroError("IMAGE_LIMIT_EXCEEDED", `layer ${number}: it exceeds the limit "${limit}": ${what}`, {
    hint: "use a smaller image; one of usual contents comes nowhere near",
  });
}
