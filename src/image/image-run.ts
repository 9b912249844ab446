import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { failpoint } from "../kit/index.js";
import type { ImagePullProgress, StoredImage } from "../oci/index.js";
import { PyroError } from "../protocol/index.js";
import type { BuildLayer } from "./builder.js";
import { requireSpace } from "./host-tools.js";
import { layerTars } from "./layer-tars.js";
import type { PullProgress } from "./progress.js";
import { PullPlace } from "./pull-place.js";
import type { EnvironmentSource, Manifest } from "./record.js";
import { sealImage, type SealRequest } from "./seal.js";
import { dropPartial } from "./sweep.js";
import { unpackLayers, type UnpackRequest } from "./unpack.js";

export interface ImageRunOptions
  extends
    Pick<SealRequest, "store" | "host" | "inUse" | "signal">,
    Pick<UnpackRequest, "builder" | "logger"> {
  /** The environment's name. */
  readonly name: string;
  readonly source: Extract<EnvironmentSource, "image" | "archive">;
  /** Where it came from, for the manifest: the image's reference, or the name of the archive's file. */
  readonly reference: string;
  /** Brings the image's layers here. */
  readonly fetch: (
    signal: AbortSignal,
    onProgress: (progress: ImagePullProgress) => void,
  ) => Promise<StoredImage>;
  /** Rejects where the environment is not to be replaced; asked again once its place is taken. */
  readonly requireFree?: () => Promise<void>;
  /** Forgets what earlier pulls finished. */
  readonly fresh: boolean;
  readonly onProgress: (progress: PullProgress) => void;
}

/** What unpacking needs: no package manager of the host has a part in it. */
const IMAGE_TOOLS = ["mke2fs", "qemu-img", "setpriv"] as const;

/** Layers that are disks of their own; more of them are written into one file. */
const LAYER_DISKS_MAX = 20;
const JOINED = "layers.raw";
/** Tars and files together, of what their layers were: text comes to a fifth. */
const UNPACKED_RATIO = 8;

/**
 * One pull of an image into an environment: its layers are fetched and proven, unpacked in a builder VM, and the disk is
 * sealed. What was fetched and what was unpacked is kept for the next pull, however this one ends.
 */
export async function runImage(options: ImageRunOptions): Promise<{ readonly reused: boolean }> {
  const { store, host, name, signal, source } = options;
  await options.requireFree?.();
  await host.require(IMAGE_TOOLS);
  failpoint("image.fetch");
  const image = await options.fetch(signal, (progress) => options.onProgress(fetching(progress, source)));
  failpoint("image.fetched");
  if (!options.fresh && (await isThere(options, image))) return { reused: true };
  await using place = await PullPlace.open(store.layout, name, options);
  await options.requireFree?.();
  failpoint("image.unpack");
  const unpacking = (bytesDone: number, bytesTotal: number, message: string): void =>
    options.onProgress({ phase: "unpack", bytesDone, bytesTotal, message });
  const raw = await unpackLayers({
    ...options,
    place,
    layers: async () => {
      const tars = await layerTars(image.layers, place, signal, (bytesDone) =>
        unpacking(bytesDone, image.sizeBytes, "decompressing the layers"),
      );
      return await asDisks(tars, place, signal);
    },
    steps: [],
    inputs: image.manifestDigest,
    neededBytes: image.sizeBytes * UNPACKED_RATIO,
    onProgress: unpacking,
  });
  // The layers' tars are of no use any more, and the image needs room.
  await dropPartial(place.directory);
  failpoint("image.seal");
  await sealImage({
    ...options,
    directory: place.directory,
    from: { path: raw, format: "raw" },
    usedBytes: (await stat(raw)).blocks * 512,
    manifest: { name, source, recipe: image.manifestDigest, packages: [], ...saidOf(image, options) },
    onProgress: (bytesDone, bytesTotal, message) =>
      options.onProgress({ phase: "seal", bytesDone, bytesTotal, message }),
  });
  failpoint("image.sealed");
  place.finish();
  return { reused: false };
}

/** Whether the environment was made of this very image, and is whole. */
async function isThere(
  { store, name }: Pick<ImageRunOptions, "store" | "name">,
  image: StoredImage,
): Promise<boolean> {
  const manifest = await store.manifest(name);
  return manifest?.recipe === image.manifestDigest && (await store.isWhole(manifest));
}

/** What the manifest remembers of an image. */
function saidOf(
  { config, layers, manifestDigest }: StoredImage,
  { reference }: Pick<ImageRunOptions, "reference">,
): Pick<Manifest, "config" | "origin"> {
  return {
    config: {
      env: [...config.env],
      user: config.user,
      working_dir: config.workingDir,
      entrypoint: [...config.entrypoint],
      cmd: [...config.cmd],
    },
    origin: {
      reference,
      manifest_digest: manifestDigest,
      layers: layers.map(({ digest, sizeBytes }) => ({ digest, size_bytes: sizeBytes })),
    },
  };
}

function fetching(
  { phase, bytesDone, bytesTotal, layers, waiting }: ImagePullProgress,
  source: ImageRunOptions["source"],
): PullProgress {
  const here = layers.filter(({ state }) => state === "here").length;
  const message =
    waiting !== undefined
      ? `waiting ${Math.ceil(waiting.waitMs / 1000)} s: ${waiting.because}`
      : phase === "manifest"
        ? source === "image"
          ? "asking the registry"
          : "reading the archive"
        : `${here} of ${layers.length} layers`;
  return { phase: "fetch", bytesDone, bytesTotal, message };
}

/** A machine has places for a few disks: many layers come as one. */
async function asDisks(
  layers: readonly BuildLayer[],
  place: PullPlace,
  signal: AbortSignal,
): Promise<readonly BuildLayer[]> {
  if (layers.length <= LAYER_DISKS_MAX) return layers;
  const bytes = layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  await requireSpace(place.directory, bytes, "joining the image's layers");
  const path = place.path(JOINED);
  const joined: BuildLayer[] = [];
  await using file = await open(path, "w", 0o444);
  let offsetBytes = 0;
  for (const { path: from, ...layer } of layers) {
    for await (const chunk of createReadStream(from, { signal, highWaterMark: 1024 * 1024 })) {
      await file.writeFile(chunk as Buffer);
    }
    joined.push({ ...layer, path, offsetBytes });
    offsetBytes += layer.sizeBytes;
  }
  if ((await file.stat()).size === bytes) return joined;
  throw new PyroError("ENVIRONMENT_BUILD_FAILED", "a layer of the image changed while it was read", {
    hint: "try again: what was changed is fetched anew",
    retryable: true,
  });
}
