import { open } from "node:fs/promises";
import { PyroError } from "../protocol/index.js";
import { shortDigest, type Digest } from "./digest.js";
import { parseImageConfig, type ImageConfig } from "./image-config.js";
import {
  limit,
  parseDocument,
  type Descriptor,
  type ImageManifest,
  type LayerDescriptor,
  type Platform,
} from "./manifest.js";
import { compressionByMagic } from "./media-types.js";
import { choose, fits, noPlatform } from "./platform.js";
import { formatReference, pinned, type Reference } from "./reference.js";
import type { BlobStore } from "./blob-store.js";
import type { BlobTap } from "./blob-tap.js";
import type { FetchedDocument } from "./repository.js";
import { LIMITS } from "../protocol/index.js";

/** A layer of an image whose documents are here. */
export interface KnownLayer extends LayerDescriptor {
  /** Digest of its tar, unpacked: to be proven by whoever unpacks it. */
  readonly diffId: Digest;
}

/** A layer that is here. */
export interface PulledLayer extends KnownLayer {
  /** Read-only, never changed; its digest is proven. */
  readonly path: string;
}

/** An image whose documents are here, and of whose layers nothing was fetched yet. */
export interface KnownImage {
  /** As a `StoredImage` has them. */
  readonly manifestDigest: Digest;
  readonly layers: readonly KnownLayer[];
  readonly sizeBytes: number;
}

/** Told of an image before its layers are fetched; gives what looks on as each of them comes. */
export type OnKnownImage = (image: KnownImage) => Promise<(layer: Digest) => BlobTap | undefined>;

/** An image that is here as a whole. */
export interface StoredImage {
  /** Of the image for the platform; another than the pinned one where that is an index. */
  readonly manifestDigest: Digest;
  readonly configDigest: Digest;
  readonly config: ImageConfig;
  /** The lowest first. */
  readonly layers: readonly PulledLayer[];
  /** Of all layers, as they are packed. */
  readonly sizeBytes: number;
  /** Whether everything was here before. */
  readonly reused: boolean;
}

/** One that came from a registry. */
export interface PulledImage extends StoredImage {
  readonly reference: Reference;
  /** The same by the digest that its tag stood for: what is to be remembered of it. */
  readonly pinned: Reference;
}

/** What a pull gets things from. */
export interface PullSources {
  readonly store: BlobStore;
  /** A manifest or an index, by a tag or a digest. */
  readonly fetchDocument: (tagOrDigest: string) => Promise<FetchedDocument>;
  /** A blob's path, fetched where it is not here; which of the image's it is counts for progress. */
  readonly fetchBlob: (descriptor: Descriptor, tap?: BlobTap) => Promise<{ path: string; reused: boolean }>;
  /** The layers are known; nothing of them was fetched yet. */
  readonly onLayers: (layers: readonly LayerDescriptor[]) => void;
  readonly onKnown?: OnKnownImage | undefined;
  /** One of the layers failed: the others need not go on. */
  readonly giveUp: (because: unknown) => void;
}

/** An image of a registry for one platform. */
export async function pullImage(
  reference: Reference,
  wanted: Platform,
  sources: PullSources,
): Promise<PulledImage> {
  const tagOrDigest = reference.digest ?? reference.tag ?? "latest";
  const { digest, image } = await storeImage(formatReference(reference), tagOrDigest, wanted, sources);
  return { ...image, reference, pinned: pinned(reference, digest) };
}

/**
 * One image for one platform: its documents first, each proven and read within bounds, then its blobs.
 * @returns the image, and the digest of what was asked for
 */
export async function storeImage(
  what: string,
  tagOrDigest: string,
  wanted: Platform,
  sources: PullSources,
): Promise<{ digest: Digest; image: StoredImage }> {
  const first = await document(sources, tagOrDigest);
  const { manifest, manifestDigest, reused } = await resolve(what, first, wanted, sources);
  sources.onLayers(manifest.layers);
  const config = await readConfig(what, manifest, wanted, sources);
  const known = {
    manifestDigest,
    // parseImageConfig has counted them.
    layers: manifest.layers.map((layer, index) => ({
      ...layer,
      diffId: config.parsed.diffIds[index] as Digest,
    })),
    sizeBytes: manifest.layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  };
  const tapOf = await sources.onKnown?.(known);
  const unique = new Map(manifest.layers.map((layer) => [layer.digest, layer]));
  const fetched = new Map<Digest, { path: string; reused: boolean }>();
  await allOrFirstFailure(
    [...unique.values()].map(async (layer) => {
      const blob = await sources.fetchBlob(layer, tapOf?.(layer.digest));
      await checkLayer(what, layer, blob.path);
      fetched.set(layer.digest, blob);
    }),
    sources.giveUp,
  );
  const layers = known.layers.map((layer): PulledLayer => {
    const { path } = fetched.get(layer.digest) ?? { path: sources.store.pathOf(layer.digest) };
    return { ...layer, path };
  });
  const image = {
    ...known,
    configDigest: manifest.config.digest,
    config: config.parsed,
    layers,
    reused: first.reused && reused && config.reused && [...fetched.values()].every((blob) => blob.reused),
  };
  return { digest: first.digest, image };
}

interface Known extends FetchedDocument {
  readonly reused: boolean;
}

/** From the store where its digest is known and it is here; a tag is looked up each time. */
async function document({ store, fetchDocument }: PullSources, tagOrDigest: string): Promise<Known> {
  if (tagOrDigest.includes(":")) {
    const digest = tagOrDigest as Digest;
    const bytes = await store.read(digest, LIMITS.imageManifestBytes);
    if (bytes !== undefined) return { bytes, digest, mediaType: undefined, reused: true };
  }
  const fetched = await fetchDocument(tagOrDigest);
  return { ...fetched, reused: (await store.find(fetched.digest)) !== undefined };
}

/** Goes from an index to the image for the platform, and keeps each document once it could be read. */
async function resolve(
  what: string,
  first: Known,
  wanted: Platform,
  sources: PullSources,
): Promise<{ manifest: ImageManifest; manifestDigest: Digest; reused: boolean }> {
  let known = first;
  let told = first.mediaType;
  let reused = first.reused;
  for (let depth = 0; depth <= LIMITS.imageIndexDepth; depth++) {
    const parsed = parseDocument(what, known.bytes, told);
    if (!known.reused) await sources.store.put(known.digest, known.bytes);
    if (parsed.kind === "manifest") return { manifest: parsed, manifestDigest: known.digest, reused };
    const entry = choose(what, parsed, wanted);
    if (entry.sizeBytes > LIMITS.imageManifestBytes) {
      throw limit(what, "imageManifestBytes", `a manifest of ${entry.sizeBytes} bytes`);
    }
    known = await document(sources, entry.digest);
    if (known.bytes.length !== entry.sizeBytes) {
      throw contradiction(
        what,
        `a manifest has ${known.bytes.length} bytes, its index says ${entry.sizeBytes}`,
      );
    }
    told = entry.mediaType;
    reused &&= known.reused;
  }
  throw limit(what, "imageIndexDepth", `more than ${LIMITS.imageIndexDepth} indexes within each other`);
}

async function readConfig(
  what: string,
  { config, layers }: ImageManifest,
  wanted: Platform,
  { store, fetchBlob }: PullSources,
): Promise<{ parsed: ImageConfig; reused: boolean }> {
  const { reused } = await fetchBlob(config);
  const bytes = await store.read(config.digest, LIMITS.imageConfigBytes);
  if (bytes === undefined) throw contradiction(what, "its configuration went away while it was read");
  if (bytes.length !== config.sizeBytes) throw otherSize(what, config, bytes.length);
  const parsed = parseImageConfig(what, bytes, layers.length);
  if (!fits(parsed.platform, wanted)) throw noPlatform(what, [parsed.platform], wanted);
  return { parsed, reused };
}

/** A layer that is packed otherwise than its type says is not handed on: another tool would read another thing. */
async function checkLayer(what: string, layer: LayerDescriptor, path: string): Promise<void> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  // Another image's manifest, with another size, may have brought it here.
  if (size !== layer.sizeBytes) throw otherSize(what, layer, size);
  const head = Buffer.alloc(4);
  const { bytesRead } = await file.read(head, 0, 4, 0);
  const found = compressionByMagic(head.subarray(0, bytesRead));
  if (found === layer.compression) return;
  const says = { none: "plain", gzip: "packed by gzip", zstd: "packed by zstd" };
  throw contradiction(
    what,
    `layer ${shortDigest(layer.digest)} is ${says[found]}, its manifest says ${says[layer.compression]}`,
  );
}

/** All of them, or the first failure, once none goes on that would still write. */
async function allOrFirstFailure(
  work: readonly Promise<void>[],
  giveUp: (because: unknown) => void,
): Promise<void> {
  try {
    await Promise.all(work);
  } catch (error) {
    giveUp(error);
    await Promise.allSettled(work);
    throw error;
  }
}

function otherSize(what: string, { digest, sizeBytes }: Descriptor, found: number): PyroError {
  return contradiction(what, `${shortDigest(digest)} has ${found} bytes, its manifest says ${sizeBytes}`);
}

function contradiction(what: string, problem: string): PyroError {
  return new PyroError("IMAGE_MANIFEST_INVALID", `${what} contradicts itself: ${problem}`, {
    hint: "push the image anew by a current tool (podman, docker, skopeo), or name another one",
    details: { image: what, problem },
  });
}
