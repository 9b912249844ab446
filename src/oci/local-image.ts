import { LIMITS } from "../protocol/index.js";
import type { BlobStore } from "./blob-store.js";
import type { Digest } from "./digest.js";
import type { LocalImage } from "./image-document.js";
import { parseDocument, type Descriptor } from "./manifest.js";
import { MANIFEST_TYPES } from "./media-types.js";
import type { Reference } from "./reference.js";
import type { LocalBlob } from "./upload.js";

/**
 * An image that was pulled, as it was, to be pushed elsewhere; undefined where anything of it is not here any more.
 * @param from where it came from, for a registry that has its layers already
 */
export async function findImage(
  store: BlobStore,
  manifestDigest: string,
  from: Reference | undefined,
  signal: AbortSignal,
): Promise<LocalImage | undefined> {
  const digest = manifestDigest as Digest;
  const bytes = await store.read(digest, LIMITS.imageManifestBytes);
  if (bytes === undefined) return undefined;
  const document = parseDocument(digest, bytes, undefined);
  if (document.kind === "index") return undefined;
  const local = async (blob: Descriptor): Promise<LocalBlob | undefined> => {
    const path = await store.find(blob.digest, signal);
    return path === undefined ? undefined : { ...blob, content: { path } };
  };
  const config = await local(document.config);
  const layers: LocalBlob[] = [];
  for (const layer of document.layers) {
    const found = await local(layer);
    if (found !== undefined) layers.push(found);
  }
  if (config === undefined || layers.length !== document.layers.length) return undefined;
  const [fallback = ""] = MANIFEST_TYPES;
  const { mediaType = fallback } = JSON.parse(bytes.toString("utf8")) as { mediaType?: string };
  return {
    manifest: { mediaType, digest, sizeBytes: bytes.length, bytes },
    ...{ config, layers },
    origin: from === undefined ? undefined : { registry: from.registry, repository: from.repository },
  };
}
