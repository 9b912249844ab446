import { setMaxListeners } from "node:events";
import { untilAborted } from "../kit/index.js";
import type { BlobTap, ImagePullProgress, KnownImage, StoredImage } from "../oci/index.js";
import { LayerTars } from "./layer-tars.js";
import { PullPlace } from "./pull-place.js";
import type { EnvironmentStore } from "./store.js";
import { dropPartial } from "./sweep.js";
import { isUnpacked, makeEmptyDisk, unpackLayers, type UnpackRequest } from "./unpack.js";

export interface ImageUnpackingOptions extends Pick<
  UnpackRequest,
  "host" | "builder" | "logger" | "onProgress" | "signal"
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

/**
 * The way of an image from its layers to a disk. Once its documents are known its place is taken and layers are unpacked as they
 * come; the machine starts shortly before the last of them is here, and reads none of them before all are proven. Disposing
 * of it ends the machine and gives the place back.
 */
export class ImageUnpacking implements AsyncDisposable {
  readonly #options: ImageUnpackingOptions;
  readonly #failure = new AbortController();
  /** The fetch goes on by this: it ends when the image cannot be unpacked anyway. */
  readonly signal: AbortSignal;
  #known: KnownImage | undefined;
  #place: PullPlace | undefined;
  #tars: LayerTars | undefined;
  #emptyDisk: Promise<string> | undefined;
  #raw: Promise<string> | undefined;
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

  /** Told of the image before its layers come. What fails here ends the fetch, by the signal. */
  async begin(image: KnownImage): Promise<(layer: string) => BlobTap | undefined> {
    try {
      const place = await this.#open(image);
      if (!(await isUnpacked(place, image.manifestDigest))) {
        this.#emptyDisk = makeEmptyDisk({ ...this.#options, ...this.#needs(place, image) });
        this.#emptyDisk.catch((error: unknown) => this.#failure.abort(error));
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
  async finish(image: StoredImage): Promise<{ readonly directory: string; readonly raw: string }> {
    const { directory } = this.#place ?? (await this.#open(image));
    this.#isFetched = true;
    this.#fetched(image);
    const raw = await this.#start(image);
    // The layers' tars are of no use any more, and the image needs room.
    await this.#tars?.[Symbol.asyncDispose]();
    await dropPartial(directory);
    return { directory, raw };
  }

  /** The environment is sealed: nothing here is needed any more. */
  done(): void {
    this.#place?.finish();
  }

  async #open(image: KnownImage): Promise<PullPlace> {
    const { store, name, requireFree } = this.#options;
    this.#place = await PullPlace.open(store.layout, name, this.#options);
    await requireFree?.();
    this.#tars = await LayerTars.open(this.#place, image.layers);
    this.#known = image;
    return this.#place;
  }

  #needs(place: PullPlace, image: KnownImage) {
    return { place, neededBytes: image.sizeBytes * UNPACKED_RATIO, signal: this.signal };
  }

  #start(image: KnownImage): Promise<string> {
    if (this.#raw !== undefined) return this.#raw;
    const [place, tars] = [this.#place, this.#tars];
    if (place === undefined || tars === undefined) throw new Error("the image has no place yet");
    this.#raw = unpackLayers({
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
    this.#raw.catch((error: unknown) => this.#failure.abort(error));
    return this.#raw;
  }

  /** Until the layers are here, it is they who are told of. */
  #report(bytesDone: number, bytesTotal: number, message: string): void {
    if (this.#isFetched) this.#options.onProgress(bytesDone, bytesTotal, message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#failure.abort(new Error("the pull is over"));
    await Promise.allSettled([this.#emptyDisk, this.#raw]);
    await this.#tars?.[Symbol.asyncDispose]();
    await this.#place?.[Symbol.asyncDispose]();
  }
}
