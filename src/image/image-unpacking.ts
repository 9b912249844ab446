import { setMaxListeners } from "node:events";
import { sleep, untilAborted } from "../kit/index.js";
import type { BlobTap, ImagePullProgress, KnownImage, StoredImage } from "../oci/index.js";
import { LayerTars, tarsBytesMost } from "./layer-tars.js";
import { requireSpace } from "./host-tools.js";
import { PullPlace } from "./pull-place.js";
import type { EnvironmentStore } from "./store.js";
import { fillDisk, hasUnpacked, isUnpacked, keepUnpacked, unpackedDisk, type FillRequest } from "./unpack.js";

export interface ImageUnpackingOptions extends Pick<
  FillRequest,
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
/** In this time a machine's process is started, where nothing else is done; a boot takes many times as long. */
const HEAD_START_MS = 40;
/** So much comes in that time on most lines: the machine is started at once, or was before the image was known. */
const SOON_BYTES = 256 * 1024 ** 2;
/** What the tars of so large an image can come to at most, however many layers it has. */
const SOON_TARS_BYTES = 320 * 1024 ** 3;

/**
 * The way of an image from its layers to a disk. Its place is taken and the machine that unpacks is started while the
 * registry is asked; layers are decompressed as they come, and the machine reads none of them before all are proven. For a
 * large image, the machine is started again in time. Disposing of it ends the machine and gives the place back.
 */
export class ImageUnpacking implements AsyncDisposable {
  readonly #options: ImageUnpackingOptions;
  readonly #failure = new AbortController();
  /** The fetch goes on by this: it ends when the image cannot be unpacked anyway. */
  readonly signal: AbortSignal;
  #prepared: Promise<void> | undefined;
  #beginning: Promise<unknown> | undefined;
  #isKnown = false;
  #taking: Promise<PullPlace> | undefined;
  #place: PullPlace | undefined;
  #tars: LayerTars | undefined;
  #machine: { readonly filled: Promise<void>; readonly ending: AbortController } | undefined;
  /** Of a machine that was started before the image was known: what the registry says of that comes first. */
  #earlyFailure: Error | undefined;
  #removal: Promise<void> | undefined;
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
   * Takes the environment's place and starts the machine before the registry is asked: for an image that will have to be
   * unpacked, whatever it is. The machine has a head start, for a fetch begins by loading its client, which would hold the
   * machine's start up by 70 ms. What fails here ends the fetch, by the signal.
   */
  async prepare(): Promise<void> {
    this.#prepared = this.#prepare();
    await this.#prepared.catch((error: unknown) => this.#failure.abort(error));
  }

  async #prepare(): Promise<void> {
    const place = await this.#take();
    // It may be this very image.
    if (await hasUnpacked(place)) return;
    // No file may be so long on some file systems, or by a limit: its length is known later.
    this.#tars = await LayerTars.open(place, SOON_TARS_BYTES).catch(() => undefined);
    this.#start();
    if (this.#machine !== undefined) await sleep(HEAD_START_MS, this.signal);
  }

  /** Told of the image before its layers come. What fails here ends the fetch, by the signal. */
  async begin(image: KnownImage): Promise<(layer: string) => BlobTap | undefined> {
    const beginning = this.#begin(image).catch((error: unknown) => {
      this.#failure.abort(error);
    });
    this.#beginning = beginning;
    return (await beginning) ?? (() => undefined);
  }

  async #begin(image: KnownImage): Promise<((layer: string) => BlobTap | undefined) | undefined> {
    // Whoever wanted it may have left, while others wait for the same fetch.
    this.signal.throwIfAborted();
    await this.#prepared;
    const place = await this.#take();
    const isThere = await isUnpacked(place, image.manifestDigest);
    const isSoon = image.sizeBytes <= SOON_BYTES;
    if (!isThere) {
      await requireSpace(place.directory, image.sizeBytes * UNPACKED_RATIO, "unpacking the image");
      if (!isSoon) await this.#stop();
      this.#tars ??= await LayerTars.open(place, tarsBytesMost(image.layers));
      this.#tars.expect(image.layers);
    }
    this.signal.throwIfAborted();
    this.#isKnown = true;
    if (this.#earlyFailure !== undefined) throw this.#earlyFailure;
    if (isThere) return undefined;
    if (isSoon) this.#start();
    return (layer) => this.#tars?.tap(layer);
  }

  /** Told how far the fetch is: starts the machine in time. */
  follow({ phase, bytesDone, bytesTotal }: ImagePullProgress): void {
    if (phase !== "layers" || !this.#isKnown || this.signal.aborted) return;
    const ms = performance.now();
    this.#since ??= { ms, bytes: bytesDone };
    const perMs = (bytesDone - this.#since.bytes) / (ms - this.#since.ms);
    if ((bytesTotal - bytesDone) / perMs < BUILDER_AHEAD_MS) this.#start();
  }

  /** Unpacks the image, whose layers are proven. @throws {PyroError} as `fillDisk` and `LayerTars` */
  async finish(image: StoredImage): Promise<{ readonly directory: string; readonly disk: string }> {
    // Nobody told of it where another pull fetched the same image already.
    if (!this.#isKnown) await this.begin(image);
    this.signal.throwIfAborted();
    const place = await this.#take();
    const { directory } = place;
    // An earlier pull has unpacked it.
    if (this.#tars === undefined) return { directory, disk: unpackedDisk(place) };
    this.#isFetched = true;
    this.#fetched(image);
    this.#start();
    await this.#machine?.filled;
    const disk = await keepUnpacked(place, image.manifestDigest);
    // Beside the hashing of the disk; what does not go now goes with its directory.
    this.#removal = this.#tars.remove().catch(() => undefined);
    return { directory, disk };
  }

  /** The environment is sealed: nothing here is needed any more. */
  done(): void {
    this.#place?.finish();
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

  /** Starts the machine, if none is and it would have what to read of. */
  #start(): void {
    const [place, tars] = [this.#place, this.#tars];
    if (this.#machine !== undefined || place === undefined || tars === undefined) return;
    const ending = new AbortController();
    const signal = AbortSignal.any([this.signal, ending.signal]);
    const filled = fillDisk({
      ...this.#options,
      ...{ place, signal, files: [tars.path], steps: [] },
      layers: async () => {
        const { layers, sizeBytes } = await untilAborted(this.#image, signal);
        return await tars.finish(layers, signal, (bytesDone) =>
          this.#report(bytesDone, sizeBytes, "decompressing the layers"),
        );
      },
      onProgress: this.#report.bind(this),
    });
    filled.catch((error: unknown) => {
      if (ending.signal.aborted) return;
      if (this.#isKnown) this.#failure.abort(error);
      else this.#earlyFailure = error as Error;
    });
    this.#machine = { filled, ending };
  }

  /** Ends the machine: at the end, or where the image will not be here soon, and may have no room in its file. */
  async #stop(): Promise<void> {
    this.#machine?.ending.abort(new Error("nothing waits for this machine any more"));
    await Promise.allSettled([this.#machine?.filled]);
    await this.#tars?.[Symbol.asyncDispose]();
    this.#machine = this.#tars = this.#earlyFailure = undefined;
  }

  /** Until the layers are here, it is they who are told of. */
  #report(bytesDone: number, bytesTotal: number, message: string): void {
    if (this.#isFetched) this.#options.onProgress(bytesDone, bytesTotal, message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#failure.abort(new Error("the pull is over"));
    await Promise.allSettled([this.#prepared, this.#beginning]);
    await this.#removal;
    await this.#stop();
    await this.#place?.[Symbol.asyncDispose]();
  }
}
