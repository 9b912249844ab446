import type { Digest } from "./digest.js";
import type { LayerDescriptor } from "./manifest.js";

/** How far one layer is. */
export interface LayerProgress {
  readonly digest: Digest;
  readonly state: "waiting" | "fetching" | "here";
  /** Bytes that are here, those of earlier pulls included. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** How far the pull of an image is. */
export interface ImagePullProgress {
  readonly phase: "manifest" | "layers";
  /** Of all layers. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** Each digest once, the lowest first; none before the manifest is known. */
  readonly layers: readonly LayerProgress[];
  /** Why nothing comes at the moment, and for how long: a registry wants to be left alone, or failed. */
  readonly waiting?: { readonly waitMs: number; readonly because: string };
}

/** Told this often at most, besides when something begins or ends. */
const EVERY_MS = 50;

/** Puts together what a pull tells of itself. */
export class ProgressReport {
  readonly #layers = new Map<Digest, LayerProgress>();
  #phase: ImagePullProgress["phase"] = "manifest";
  #toldMs = -Infinity;

  constructor(private readonly tell: (progress: ImagePullProgress) => void) {}

  /** What there is to fetch. */
  layers(layers: readonly LayerDescriptor[]): void {
    for (const { digest, sizeBytes } of layers) {
      this.#layers.set(digest, { digest, state: "waiting", bytesDone: 0, bytesTotal: sizeBytes });
    }
    this.#phase = "layers";
    this.#tellNow();
  }

  bytes(digest: Digest, received: number): void {
    const layer = this.#layers.get(digest);
    if (layer === undefined) return;
    this.#layers.set(digest, { ...layer, state: "fetching", bytesDone: received });
    if (layer.state !== "fetching" || performance.now() - this.#toldMs >= EVERY_MS) this.#tellNow();
  }

  here(digest: Digest): void {
    const layer = this.#layers.get(digest);
    if (layer === undefined) return;
    this.#layers.set(digest, { ...layer, state: "here", bytesDone: layer.bytesTotal });
    this.#tellNow();
  }

  waiting(waitMs: number, because: string): void {
    this.#tellNow({ waitMs, because });
  }

  #tellNow(waiting?: ImagePullProgress["waiting"]): void {
    this.#toldMs = performance.now();
    const layers = [...this.#layers.values()];
    const sum = (which: "bytesDone" | "bytesTotal"): number =>
      layers.reduce((all, layer) => all + layer[which], 0);
    this.tell({
      phase: this.#phase,
      bytesDone: sum("bytesDone"),
      bytesTotal: sum("bytesTotal"),
      layers,
      ...(waiting === undefined ? {} : { waiting }),
    });
  }
}
