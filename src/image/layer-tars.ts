import { createReadStream } from "node:fs";
import { open, rm, type FileHandle } from "node:fs/promises";
import { setMaxListeners } from "node:events";
import { availableParallelism } from "node:os";
import { Slots } from "../kit/index.js";
import type { BlobTap, KnownLayer, PulledLayer } from "../oci/index.js";
import type { BuildLayer } from "./builder.js";
import type { PullPlace } from "./pull-place.js";
import { TAR_BYTES_MAX, tarBytesMost, TarStream, tooLarge } from "./tar-stream.js";

const FILE = "layers.raw";
const READ_BYTES = 1024 * 1024;
/** Where layers begin; before the first is nothing, since a kernel looks for partitions at a disk's begin. */
const ALIGNED_BYTES = 1024 * 1024;

/** One layer's place in the file, which is as long as it can become: what is not written takes no room. */
interface Region {
  readonly number: number;
  readonly offsetBytes: number;
  /** Of its tar, as far as it is written. */
  bytes: number;
  stream: TarStream | undefined;
}

/**
 * The tars of an image's layers, in one sparse file of the pull's directory, which is as long from the start as it can
 * become: it may be attached to a machine before they are there. Only the compression is undone here, by zlib: the archives
 * themselves are read in the builder VM and nowhere else. It would take the builder six times as long under emulation, on
 * its one processor. What this Node cannot read (zstd before 22.15) the builder does.
 *
 * A layer that is fetched is unpacked as it comes; it counts only when it was proven then. One that was here already, or of
 * which that failed, is unpacked from where it lies.
 */
export class LayerTars implements AsyncDisposable {
  #regions: ReadonlyMap<string, Region> = new Map();
  #layers: ReadonlyMap<string, KnownLayer> = new Map();

  private constructor(
    readonly path: string,
    private readonly lengthBytes: number,
    private readonly file: FileHandle,
  ) {}

  /** The file for what is not known yet, in which layers have room whose `tarsBytesMost` is no more. */
  static async open(place: PullPlace, lengthBytes: number): Promise<LayerTars> {
    const path = place.path(FILE);
    // An earlier one is read-only.
    await rm(path, { force: true });
    const file = await open(path, "wx", 0o444);
    try {
      await file.truncate(lengthBytes);
    } catch (error) {
      await file.close();
      throw error;
    }
    return new LayerTars(path, lengthBytes, file);
  }

  /** Gives the layers their places; they can come then. */
  expect(layers: readonly KnownLayer[]): void {
    const { regions, endBytes } = regionsOf(layers);
    if (endBytes > this.lengthBytes) throw new Error(`the layers need ${endBytes} bytes at most`);
    this.#regions = regions;
    this.#layers = new Map(layers.map((layer) => [layer.digest, layer]));
  }

  /** Unpacks a layer as it comes. */
  tap(digest: string): BlobTap | undefined {
    const layer = this.#layers.get(digest);
    return layer === undefined ? undefined : this.#begin(layer);
  }

  /**
   * All of them, the lowest first, once their blobs are proven.
   * @param onProgress packed bytes of what had to be read again
   * @throws {PyroError} IMAGE_LAYER_INVALID, IMAGE_LIMIT_EXCEEDED, IMAGE_DIFF_ID_MISMATCH; DISK_FULL; the signal's reason
   */
  async finish(
    layers: readonly PulledLayer[],
    signal: AbortSignal,
    onProgress: (bytesDone: number) => void,
  ): Promise<BuildLayer[]> {
    const slots = new Slots(availableParallelism());
    const failure = new AbortController();
    const either = AbortSignal.any([signal, failure.signal]);
    // Each layer waits by it, and is read by it: Node would take that for a leak.
    setMaxListeners(4 * layers.length + 10, either);
    let doneBytes = 0;
    const begun = new Map<string, Promise<BuildLayer>>();
    const work = layers.map((layer) => {
      const same = begun.get(keyOf(layer));
      if (same !== undefined) return same;
      const finished = this.#finish(layer, slots, either, (bytes) => onProgress((doneBytes += bytes)));
      begun.set(keyOf(layer), finished);
      return finished;
    });
    try {
      return await Promise.all(work);
    } catch (error) {
      failure.abort(error);
      await Promise.allSettled(work);
      signal.throwIfAborted();
      throw error;
    }
  }

  async #finish(
    layer: PulledLayer,
    slots: Slots,
    signal: AbortSignal,
    onBytes: (packed: number) => void,
  ): Promise<BuildLayer> {
    const asItCame = await this.#regionOf(layer)
      .stream?.end(this.path)
      .catch(() => undefined);
    if (asItCame !== undefined) return asItCame;
    using _slot = await slots.take(signal);
    const stream = this.#begin(layer);
    for await (const chunk of createReadStream(layer.path, { highWaterMark: READ_BYTES, signal })) {
      await stream.take(chunk as Buffer);
      onBytes((chunk as Buffer).length);
    }
    return await stream.end(this.path);
  }

  #regionOf(layer: KnownLayer): Region {
    const region = this.#regions.get(keyOf(layer));
    if (region === undefined) throw new Error(`no place for the layer ${layer.digest}`);
    return region;
  }

  #begin(layer: KnownLayer): TarStream {
    const region = this.#regionOf(layer);
    const { number, offsetBytes } = region;
    const onBytes = (bytes: number): void => {
      region.bytes = bytes;
      const all = [...this.#regions.values()].reduce((sum, each) => sum + each.bytes, 0);
      if (all > TAR_BYTES_MAX) throw tooLarge(number, "image_bytes");
    };
    region.bytes = 0;
    region.stream = new TarStream(layer, { file: this.file, offsetBytes, number, onBytes });
    return region.stream;
  }

  /** They are of no use any more. */
  async remove(): Promise<void> {
    await this[Symbol.asyncDispose]();
    await rm(this.path, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#regions.values()].map(async ({ stream }) => await stream?.close()));
    await this.file.close();
  }
}

/** How long a file of these layers can become. */
export function tarsBytesMost(layers: readonly KnownLayer[]): number {
  return regionsOf(layers).endBytes;
}

function regionsOf(layers: readonly KnownLayer[]) {
  const regions = new Map<string, Region>();
  let endBytes = ALIGNED_BYTES;
  for (const [index, layer] of layers.entries()) {
    if (regions.has(keyOf(layer))) continue;
    regions.set(keyOf(layer), { number: index + 1, offsetBytes: endBytes, bytes: 0, stream: undefined });
    endBytes += Math.ceil((tarBytesMost(layer) + 1) / ALIGNED_BYTES) * ALIGNED_BYTES;
  }
  return { regions, endBytes };
}

/** The same blob under another diff ID has to be looked at for itself. */
function keyOf({ digest, diffId }: KnownLayer): string {
  return `${digest} ${diffId}`;
}
