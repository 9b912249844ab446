/** How a layer's tar is packed. */
export type Compression = "none" | "gzip" | "zstd";

/** The documents that a reference may lead to (image-spec media-types.md; distribution, manifest-v2-2.md). */
export const INDEX_TYPES: ReadonlySet<string> = new Set([
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
]);
export const MANIFEST_TYPES: ReadonlySet<string> = new Set([
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
]);
/** Of docker before 1.10: no digests of its configuration, and no registry takes it any more. */
export const SCHEMA1_TYPES: ReadonlySet<string> = new Set([
  "application/vnd.docker.distribution.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v1+prettyjws",
]);
/** Configurations of images; a manifest with another one is an artifact: a chart, a signature, a model. */
export const CONFIG_TYPES: ReadonlySet<string> = new Set([
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json",
]);

/** What a registry is asked for, in the order of preference. */
export const ACCEPTED = [...INDEX_TYPES, ...MANIFEST_TYPES].join(", ");

const LAYER_TYPES: ReadonlyMap<string, Compression> = new Map([
  ["application/vnd.oci.image.layer.v1.tar", "none"],
  ["application/vnd.oci.image.layer.v1.tar+gzip", "gzip"],
  ["application/vnd.oci.image.layer.v1.tar+zstd", "zstd"],
  // Deprecated, but the same bytes: fetched from the registry like any other, never from the addresses it names.
  ["application/vnd.oci.image.layer.nondistributable.v1.tar", "none"],
  ["application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip"],
  ["application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "zstd"],
  ["application/vnd.docker.image.rootfs.diff.tar", "none"],
  ["application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"],
  ["application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"],
  ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"],
]);

/** How a layer of the media type is packed; undefined where it is no layer. */
export function compressionOf(mediaType: string): Compression | undefined {
  return LAYER_TYPES.get(mediaType);
}

/** What the first bytes of a file say (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1). */
export function compressionByMagic(head: Uint8Array): Compression {
  const hex = Buffer.from(head.subarray(0, 4)).toString("hex");
  if (hex.startsWith("1f8b")) return "gzip";
  return hex === "28b52ffd" ? "zstd" : "none";
}
