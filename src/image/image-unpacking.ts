import { setMaxListeners } from "node:events";
import { untilAborted } from "../kit/index.js";
import type { BlobTap, ImagePullProgress, KnownImage, StoredImage } from "../oci/index.js";
import { LayerTars } from "./layer-tars.js";
import { requireSpace } from "./host-tools.js";
import { PullPlace } from "./pull-place.js";
import { phaseFileSchema } from "./record.js";
import type { EnvironmentStore } from "./store.js";
import { isUnpacked, makeEmptyDisk, unpackLayers, type UnpackRequest } from "./unpack.js";

export interface ImageUnpackingOptions extends Pick<
  UnpackRequest,
  "builder" | "logger" | "onProgress" | "signal"
> {
  readonly store: EnvironmentStore;
  /** The environment's name. */
  readonly name: string;
  /** Forgets what earlier pulls finished. */
  readonly fresh: boolean;
  /** Rejects where the environment is not to be replaced; asked once its place is taken. */
  readonly requireFree?: () => Promise<void>;
}

/** Tars and files together, of what their layers were: text comes to a fifth. */
const UNPACKED_RATIO = 8;
/** The machine is started when the rest of the layers will be here in so long: a boot takes a second or two. */
const BUILDER_AHEAD_MS = 5_000;
/** So much comes in that time on most lines: the machine is started at once. */
const SOON_BYTES = 256 * 1024 ** 2;

/**
 * The way of an image from its layers to a disk. Once its documents are known its place is taken, unless it was before, and
 * layers are unpacked as they come; the machine starts before the last of them is here, and reads none of them before all
 * are proven. Disposing of it ends the machine and gives the place back.
 */
export class ImageUnpacking implements AsyncDisposable {
  readonly #options: ImageUnpackingOptions;
  readonly #failure = new AbortController();
  /** The fetch goes on by this: it ends when the image cannot be unpacked anyway. */
  readonly signal: AbortSignal;
  #known: KnownImage | undefined;
  #prepared: Promise<void> | undefined;
  #taking: Promise<PullPlace> | undefined;
  #place: PullPlace | undefined;
  #tars: LayerTars | undefined;
  #emptyDisk: Promise<string> | undefined;
  #disk: Promise<string> | undefined;
  readonly #image: Promise<StoredImage>;
  #fetched: (image: StoredImage) => void = () => undefined;
  #isFetched = false;
  /** Since when, and from how many bytes on, layers come. */
  #since: { readonly ms: number; readonly bytes: number } | undefined;

  constructor(options: ImageUnpackingOptions) {
    this.#options = options;
    this.signal = AbortSignal.any([options.signal, this.#failure.signal]);
    // Each blob's fetch waits by it: Node would take that for a leak.
    setMaxListeners(0, this.signal);
    this.#image = new Promise((resolve) => (this.#fetched = resolve));
  }

  /**
   * Takes the environment's place and makes the disk while the registry is asked: for an image that will have to be
   * unpacked, whatever it is. What fails here ends the fetch, by the signal.
   */
  prepare(): void {
    this.#prepared = this.#prepare();
    this.#prepared.catch((error: unknown) => this.#failure.abort(error));
  }

  async #prepare(): Promise<void> {
    const place = await this.#take();
    // What an earlier pull unpacked may be this very image.
    if ((await place.read("unpacked", phaseFileSchema)) === undefined) this.#makeDisk(place);
  }

  #makeDisk(place: PullPlace): void {
    this.#emptyDisk = makeEmptyDisk({ ...this.#options, place });
    this.#emptyDisk.catch((error: unknown) => this.#failure.abort(error));
  }

  /** Told of the image before its layers come. What fails here ends the fetch, by the signal. */
  async begin(image: KnownImage): Promise<(layer: string) => BlobTap | undefined> {
    try {
      const place = await this.#open(image);
      if (!(await isUnpacked(place, image.manifestDigest))) {
        const { neededBytes } = this.#needs(place, image);
        await requireSpace(place.directory, neededBytes, "unpacking the image");
        if (this.#emptyDisk === undefined) this.#makeDisk(place);
        if (image.sizeBytes <= SOON_BYTES) void this.#start(image);
        return (layer) => this.#tars?.tap(layer);
      }
    } catch (error) {
      this.#failure.abort(error);
    }
    return () => undefined;
  }

  /** Told how far the fetch is: starts the machine in time. */
  follow({ phase, bytesDone, bytesTotal }: ImagePullProgress): void {
    if (phase !== "layers" || this.#known === undefined || this.signal.aborted) return;
    const ms = performance.now();
    this.#since ??= { ms, bytes: bytesDone };
    const perMs = (bytesDone - this.#since.bytes) / (ms - this.#since.ms);
    if ((bytesTotal - bytesDone) / perMs < BUILDER_AHEAD_MS) void this.#start(this.#known);
  }

  /** Unpacks the image, whose layers are proven. @throws {PyroError} as `unpackLayers` and `LayerTars` */
  async finish(image: StoredImage): Promise<{ readonly directory: string; readonly disk: string }> {
    // Nobody told of it where another pull fetched the same image already.
    if (this.#known === undefined) await this.begin(image);
    this.signal.throwIfAborted();
    const { directory } = await this.#take();
    this.#isFetched = true;
    this.#fetched(image);
    return { directory, disk: await this.#start(image) };
  }

  /** The environment is sealed: nothing here is needed any more. */
  done(): void {
    this.#place?.finish();
  }

  async #open(image: KnownImage): Promise<PullPlace> {
    await this.#prepared;
    const place = await this.#take();
    this.#tars = await LayerTars.open(place, image.layers);
    this.#known = image;
    return place;
  }

  #take(): Promise<PullPlace> {
    return (this.#taking ??= this.#reallyTake());
  }

  async #reallyTake(): Promise<PullPlace> {
    const { store, name, requireFree } = this.#options;
    this.#place = await PullPlace.open(store.layout, name, this.#options);
    await requireFree?.();
    return this.#place;
  }

  #needs(place: PullPlace, image: KnownImage) {
    return { place, neededBytes: image.sizeBytes * UNPACKED_RATIO, signal: this.signal };
  }

  #start(image: KnownImage): Promise<string> {
    if (this.#disk !== undefined) return this.#disk;
    const [place, tars] = [this.#place, this.#tars];
    if (place === undefined || tars === undefined) throw new Error("the image has no place yet");
    this.#disk = unpackLayers({
      ...this.#options,
      ...this.#needs(place, image),
      ...(this.#emptyDisk === undefined ? {} : { emptyDisk: this.#emptyDisk }),
      files: [tars.path],
      layers: async () => {
        const { layers } = await untilAborted(this.#image, this.signal);
        return await tars.finish(layers, this.signal, (bytesDone) =>
          this.#report(bytesDone, image.sizeBytes, "decompressing the layers"),
        );
      },
      steps: [],
      inputs: image.manifestDigest,
      onProgress: this.#report.bind(this),
    });
    this.#disk.catch((error: unknown) => this.#failure.abort(error));
    return this.#disk;
  }

  /** Until the layers are here, it is they who are told of. */
  #report(bytesDone: number, bytesTotal: number, message: string): void {
    if (this.#isFetched) this.#options.onProgress(bytesDone, bytesTotal, message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#failure.abort(new Error("the pull is over"));
    await Promise.allSettled([this.#prepared]);
    await Promise.allSettled([this.#emptyDisk, this.#disk]);
    await this.#tars?.[Symbol.asyncDispose]();
    await this.#place?.[Symbol.asyncDispose]();
  }
}
