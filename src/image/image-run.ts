import { stat } from "node:fs/promises";
import { allocatedBytes, failpoint } from "../kit/index.js";
import type { ImagePullProgress, OnKnownImage, StoredImage } from "../oci/index.js";
import { configRecord } from "./config-record.js";
import { ImageUnpacking } from "./image-unpacking.js";
import type { PullProgress } from "./progress.js";
import type { EnvironmentSource, Manifest } from "./record.js";
import { sealImage, type SealRequest } from "./seal.js";
import type { FillRequest } from "./unpack.js";

export interface ImageRunOptions
  extends Pick<SealRequest, "store" | "host" | "inUse" | "signal">, Pick<FillRequest, "builder" | "logger"> {
  /** The environment's name. */
  readonly name: string;
  readonly source: Extract<EnvironmentSource, "image" | "archive">;
  /** Where it came from, for the manifest: the image's reference, or the name of the archive's file. */
  readonly reference: string;
  /** Brings the image's layers here. */
  readonly fetch: (options: FetchOptions) => Promise<StoredImage>;
  /** Rejects where the environment is not to be replaced; asked again once its place is taken. */
  readonly requireFree?: () => Promise<void>;
  /** Forgets what earlier pulls finished. */
  readonly fresh: boolean;
  readonly onProgress: (progress: PullProgress) => void;
}

export interface FetchOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: ImagePullProgress) => void;
  /** Need not be called. */
  readonly onKnown: OnKnownImage;
}

/** What the machine is started with that unpacks; no other program of the host has a part in it. */
const IMAGE_TOOLS = ["setpriv"] as const;

/**
 * One pull of an image into an environment: its layers are fetched and proven, unpacked in a builder VM, and the disk is
 * sealed. What was fetched and what was unpacked is kept for the next pull, however this one ends.
 */
export async function runImage(options: ImageRunOptions): Promise<{ readonly reused: boolean }> {
  const { host, name, source } = options;
  await options.requireFree?.();
  await host.require(IMAGE_TOOLS);
  failpoint("image.fetch");
  const isReused = async ({ manifestDigest }: Pick<StoredImage, "manifestDigest">): Promise<boolean> =>
    !options.fresh && (await isThere(options, manifestDigest));
  await using unpacking = new ImageUnpacking({
    ...options,
    onProgress: (bytesDone, bytesTotal, message) =>
      options.onProgress({ phase: "unpack", bytesDone, bytesTotal, message }),
  });
  if (options.fresh || (await options.store.manifest(name)) === undefined) await unpacking.prepare();
  const image = await options.fetch({
    signal: unpacking.signal,
    onProgress: (progress) => {
      options.onProgress(fetching(progress, source));
      unpacking.follow(progress);
    },
    onKnown: async (known) => ((await isReused(known)) ? () => undefined : await unpacking.begin(known)),
  });
  failpoint("image.fetched");
  if (await isReused(image)) return { reused: true };
  failpoint("image.unpack");
  const { directory, disk } = await unpacking.finish(image);
  failpoint("image.seal");
  await sealImage({
    ...options,
    directory,
    from: { path: disk, by: "move" },
    usedBytes: allocatedBytes(await stat(disk)),
    manifest: { name, source, recipe: image.manifestDigest, packages: [], ...saidOf(image, options) },
    onProgress: (bytesDone, bytesTotal, message) =>
      options.onProgress({ phase: "seal", bytesDone, bytesTotal, message }),
  });
  failpoint("image.sealed");
  unpacking.done();
  return { reused: false };
}

/** Whether the environment was made of this very image, and is whole. */
async function isThere(
  { store, name }: Pick<ImageRunOptions, "store" | "name">,
  manifestDigest: string,
): Promise<boolean> {
  const manifest = await store.manifest(name);
  return manifest?.recipe === manifestDigest && (await store.isWhole(manifest));
}

/** What the manifest remembers of an image. */
function saidOf(
  { config, layers, manifestDigest }: StoredImage,
  { reference }: Pick<ImageRunOptions, "reference">,
): Pick<Manifest, "config" | "origin"> {
  return {
    config: configRecord(config),
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
  const told = (message: string): PullProgress => ({ phase: "fetch", bytesDone, bytesTotal, message });
  if (waiting !== undefined) return told(`waiting ${Math.ceil(waiting.waitMs / 1000)} s: ${waiting.because}`);
  if (phase === "manifest") return told(source === "image" ? "asking the registry" : "reading the archive");
  const here = layers.filter(({ state }) => state === "here").length;
  return told(`${here} of ${layers.length} layers`);
}
