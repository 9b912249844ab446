import { createHash } from "node:crypto";
import { setMaxListeners } from "node:events";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { Transform } from "node:stream";
import * as zlib from "node:zlib";
import { Slots } from "../kit/index.js";
import type { Compression, PulledLayer } from "../oci/index.js";
import { PyroError } from "../protocol/index.js";
import type { BuildLayer } from "./builder.js";
import type { PullPlace } from "./pull-place.js";

/** A tar as it is, by its media type. */
const PLAIN = "application/vnd.oci.image.layer.v1.tar";
/** The bounds that the builder has too (guest/internal/layer/limits.go): twice the disk of an environment, … */
const TAR_BYTES_MAX = 32 * 1024 ** 3;
/** … and so many times a layer's packed bytes, once it has RATIO_FREE_BYTES. */
const RATIO_MAX = 200;
const RATIO_FREE_BYTES = 1024 ** 3;
const CHUNK_BYTES = 1024 * 1024;

/**
 * The tars of an image's layers, each proven by its diff ID, as files of the pull's directory. Only the compression is
 * undone here, by zlib: the archives themselves are read in the builder VM and nowhere else. It would take the builder six
 * times as long under emulation, on its one processor. What this Node cannot read (zstd before 22.15) the builder does.
 * @throws {PyroError} IMAGE_LAYER_INVALID, IMAGE_LIMIT_EXCEEDED, IMAGE_DIFF_ID_MISMATCH; DISK_FULL
 */
export async function layerTars(
  layers: readonly PulledLayer[],
  place: PullPlace,
  signal: AbortSignal,
  onProgress: (bytesDone: number) => void,
): Promise<BuildLayer[]> {
  const slots = new Slots(availableParallelism());
  const failure = new AbortController();
  const either = AbortSignal.any([signal, failure.signal]);
  // Each layer waits by it, and is read by it: Node would take that for a leak.
  setMaxListeners(4 * layers.length + 10, either);
  let unpackedBytes = 0;
  let doneBytes = 0;
  const work = layers.map(async (layer, index): Promise<BuildLayer> => {
    const decompressor = DECOMPRESSORS[layer.compression]();
    if (decompressor === undefined) return asStored(layer);
    using _slot = await slots.take(either);
    const path = place.path(`layer-${index + 1}.tar`);
    const written = await decompress(layer, index + 1, path, decompressor, either, (packed, bytes) => {
      unpackedBytes += bytes;
      onProgress((doneBytes += packed));
      if (unpackedBytes > TAR_BYTES_MAX) throw tooLarge(index + 1, "image_bytes");
    });
    return { path, sizeBytes: written, blob: { mediaType: PLAIN } };
  });
  try {
    return await Promise.all(work);
  } catch (error) {
    failure.abort(error);
    await Promise.allSettled(work);
    throw error;
  }
}

/** What undoes a compression, as far as this Node can; undefined also for what is not compressed. */
const DECOMPRESSORS: Readonly<Record<Compression, () => Transform | undefined>> = {
  none: () => undefined,
  gzip: () => zlib.createGunzip({ chunkSize: CHUNK_BYTES }),
  zstd: () => {
    const create = (zlib as { createZstdDecompress?: (options: object) => Transform }).createZstdDecompress;
    return create?.({ chunkSize: CHUNK_BYTES });
  },
};

/** As the registry has it: the digest of a plain tar, which the store has proven, is its diff ID. */
function asStored({ path, sizeBytes, mediaType, digest, diffId, compression }: PulledLayer): BuildLayer {
  const isProven = compression === "none" && digest === diffId;
  return { path, sizeBytes, blob: isProven ? { mediaType } : { mediaType, digest, diffId } };
}

async function decompress(
  layer: PulledLayer,
  number: number,
  target: string,
  decompressor: Transform,
  signal: AbortSignal,
  onBytes: (packed: number, unpacked: number) => void,
): Promise<number> {
  const hash = createHash("sha256");
  let packedBytes = 0;
  let bytes = 0;
  const source = createReadStream(layer.path, { highWaterMark: CHUNK_BYTES, signal });
  source.on("data", (chunk) => (packedBytes += chunk.length));
  source.on("error", (error) => decompressor.destroy(error));
  source.pipe(decompressor);
  await using file = await open(target, "w", 0o444);
  let told = 0;
  try {
    for await (const chunk of decompressor as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
      onBytes(packedBytes - told, chunk.length);
      told = packedBytes;
      if (bytes > RATIO_FREE_BYTES && bytes / RATIO_MAX > packedBytes) throw tooLarge(number, "ratio");
      await file.writeFile(chunk);
    }
  } catch (error) {
    signal.throwIfAborted();
    throw isZlibError(error) ? invalid(number, (error as Error).message) : error;
  } finally {
    source.destroy();
    decompressor.destroy();
  }
  const diffId = `sha256:${hash.digest("hex")}`;
  if (diffId === layer.diffId) return bytes;
  throw new PyroError(
    "IMAGE_DIFF_ID_MISMATCH",
    `layer ${number}: its tar has the digest ${diffId}, and by the image's configuration should have ${layer.diffId}`,
    { hint: OTHER_IMAGE },
  );
}

const OTHER_IMAGE =
  "ask who made the image, or use another one: another tag, or the same of another registry";

/** Codes of zlib's and zstd's own begin with Z (zlib.h, zstd_errors.h). */
function isZlibError(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code?.startsWith("Z") === true;
}

function invalid(number: number, reason: string): PyroError {
  return new PyroError("IMAGE_LAYER_INVALID", `layer ${number}: it cannot be unpacked: ${reason}`, {
    hint: OTHER_IMAGE,
  });
}

function tooLarge(number: number, limit: "image_bytes" | "ratio"): PyroError {
  const what =
    limit === "image_bytes"
      ? `the layers of the image are larger than ${TAR_BYTES_MAX / 1024 ** 3} GiB together`
      : `it is larger than ${RATIO_FREE_BYTES / 1024 ** 3} GiB and ${RATIO_MAX} times its compressed bytes`;
  return new PyroError("IMAGE_LIMIT_EXCEEDED", `layer ${number}: it exceeds the limit "${limit}": ${what}`, {
    hint: "use a smaller image; one of usual contents comes nowhere near",
  });
}
