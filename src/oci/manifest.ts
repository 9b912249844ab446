import * as z from "zod";
import { shown } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { isDigest, parseDigest, type Digest } from "./digest.js";
import {
  compressionOf,
  CONFIG_TYPES,
  INDEX_TYPES,
  MANIFEST_TYPES,
  SCHEMA1_TYPES,
  type Compression,
} from "./media-types.js";

/** Content by its digest and size. Its `urls`, where it has some, are never read: only the registry is asked. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface LayerDescriptor extends Descriptor {
  readonly compression: Compression;
}

/** What an index says that an image runs on. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

export interface IndexEntry extends Descriptor {
  readonly platform: Platform | undefined;
  /** What it is called where several images are kept together. */
  readonly names: readonly string[];
  /** Says something of another entry, such as who built it, and is no image. */
  readonly isAttestation: boolean;
}

export interface ImageIndex {
  readonly kind: "index";
  readonly entries: readonly IndexEntry[];
}

export interface ImageManifest {
  readonly kind: "manifest";
  readonly config: Descriptor;
  /** The lowest first. */
  readonly layers: readonly LayerDescriptor[];
}

const descriptorSchema = z.object({
  mediaType: z.string().max(255),
  digest: z.string().max(200),
  size: z.int().nonnegative(),
});
const platformSchema = z.object({
  os: z.string().max(64),
  architecture: z.string().max(64),
  variant: z.string().max(64).optional(),
});
const indexSchema = z.object({
  manifests: z.array(
    descriptorSchema.extend({
      platform: platformSchema.optional(),
      annotations: z.record(z.string(), z.string()).optional(),
    }),
  ),
});
const manifestSchema = z.object({ config: descriptorSchema, layers: z.array(descriptorSchema) });
const headSchema = z.object({ schemaVersion: z.int(), mediaType: z.string().optional() });

/**
 * Reads a document that a registry gave, whose digest is proven already.
 * @param told the media type that led to it: of the descriptor, else of the answer's head
 * @throws {PyroError} IMAGE_MANIFEST_INVALID, IMAGE_FORMAT_NOT_SUPPORTED, IMAGE_LIMIT_EXCEEDED
 */
export function parseDocument(
  what: string,
  bytes: Uint8Array,
  told: string | undefined,
): ImageIndex | ImageManifest {
  const document = parseJson(what, bytes);
  const mediaType = mediaTypeOf(what, document, told);
  if (INDEX_TYPES.has(mediaType)) return parseIndex(what, document);
  return parseManifest(what, document);
}

function parseJson(what: string, bytes: Uint8Array): object {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Falls through: the parser's message would quote what it read.
  }
  throw invalid(what, "it is no JSON object");
}

/**
 * What kind of document this is. Content that could be read as either is refused, and so is content that says another
 * kind than what led to it: a digest proves the bytes, not how they are read (CVE-2021-41190).
 */
function mediaTypeOf(what: string, document: object, told: string | undefined): string {
  const head = headSchema.safeParse(document).data;
  const own = head?.mediaType;
  if (head?.schemaVersion === 1 || SCHEMA1_TYPES.has(own ?? told ?? "")) {
    throw notSupported(
      what,
      "it is of schema 1, which docker left in 2016",
      "push the image anew by a current tool",
    );
  }
  if (head?.schemaVersion !== 2) throw invalid(what, "its schemaVersion is not 2");
  const isList = "manifests" in document;
  if (isList && ("layers" in document || "config" in document)) {
    throw invalid(what, "it is both an index and a manifest");
  }
  const known = (type: string | undefined): type is string =>
    type !== undefined && (INDEX_TYPES.has(type) || MANIFEST_TYPES.has(type));
  if (own !== undefined && !known(own)) {
    throw notSupported(what, `its media type is ${shown(own)}`, "name an image: this is something else");
  }
  if (own !== undefined && known(told) && own !== told) {
    throw invalid(what, `its media type is ${shown(own)}, and what led to it says ${shown(told)}`);
  }
  // OCI's own documents need not name their type (image-spec, manifest.md); a server may then say "application/json".
  const type = own ?? (known(told) ? told : undefined);
  if (type !== undefined && INDEX_TYPES.has(type) !== isList) {
    throw invalid(what, `its media type is ${shown(type)}, but its content is of the other kind`);
  }
  if (type !== undefined) return type;
  const [fallback = ""] = isList ? INDEX_TYPES : MANIFEST_TYPES;
  return fallback;
}

/** Of image-spec's annotations.md, and what docker and containerd write beside it. */
const NAMES = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

function parseIndex(what: string, document: object): ImageIndex {
  const count = (document as { manifests?: unknown[] }).manifests?.length ?? 0;
  if (count > LIMITS.imageIndexEntries) throw limit(what, "imageIndexEntries", `${count} images`);
  const { manifests } = read(what, indexSchema, document);
  const entries = manifests.map((entry): IndexEntry => {
    const { platform, annotations } = entry;
    return {
      ...toDescriptor(what, entry),
      platform:
        platform === undefined
          ? undefined
          : {
              os: platform.os,
              architecture: platform.architecture,
              ...(platform.variant === undefined ? {} : { variant: platform.variant }),
            },
      names: NAMES.flatMap((key) => annotations?.[key] ?? []),
      isAttestation:
        platform?.os === "unknown" || annotations?.["vnd.docker.reference.type"] === "attestation-manifest",
    };
  });
  return { kind: "index", entries };
}

function parseManifest(what: string, document: object): ImageManifest {
  const count = (document as { layers?: unknown[] }).layers?.length ?? 0;
  if (count > LIMITS.imageLayers) throw limit(what, "imageLayers", `${count} layers`);
  const { config, layers } = read(what, manifestSchema, document);
  if (!CONFIG_TYPES.has(config.mediaType)) {
    throw notSupported(
      what,
      `it is no container image but an artifact (${shown(config.mediaType)})`,
      "name an image that can be run",
    );
  }
  if (config.size > LIMITS.imageConfigBytes) {
    throw limit(what, "imageConfigBytes", `a configuration of ${config.size} bytes`);
  }
  const parsed = layers.map((layer) => toLayer(what, layer));
  const total = parsed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  if (total > LIMITS.imageBytes) throw limit(what, "imageBytes", `layers of ${total} bytes in all`);
  return { kind: "manifest", config: toDescriptor(what, config), layers: parsed };
}

function toLayer(what: string, layer: z.infer<typeof descriptorSchema>): LayerDescriptor {
  const compression = compressionOf(layer.mediaType);
  if (compression === undefined) {
    throw notSupported(
      what,
      `a layer is of the media type ${shown(layer.mediaType)}`,
      "layers have to be tar, plain or packed by gzip or zstd; push the image with such layers",
    );
  }
  if (layer.size > LIMITS.imageLayerBytes)
    throw limit(what, "imageLayerBytes", `a layer of ${layer.size} bytes`);
  return { ...toDescriptor(what, layer), compression };
}

function toDescriptor(
  what: string,
  { mediaType, digest, size }: z.infer<typeof descriptorSchema>,
): Descriptor {
  const parsed = parseDigest(digest);
  if (!isDigest(parsed)) throw invalid(what, `${parsed.problem}: ${shown(digest)}`);
  return { mediaType, digest: parsed, sizeBytes: size };
}

function read<T>(what: string, schema: z.ZodType<T>, document: object): T {
  const { success, data, error } = schema.safeParse(document);
  if (success) return data;
  const [issue] = error.issues;
  throw invalid(what, `${shown(issue?.path.join(".") ?? "")}: ${issue?.message ?? "it is not as specified"}`);
}

function invalid(what: string, problem: string): PyroError {
  return new PyroError("IMAGE_MANIFEST_INVALID", `the manifest of ${what} cannot be read: ${problem}`, {
    hint: "push the image anew by a current tool (podman, docker, skopeo), or name another one",
    details: { image: what, problem },
  });
}

function notSupported(what: string, problem: string, hint: string): PyroError {
  return new PyroError("IMAGE_FORMAT_NOT_SUPPORTED", `${what} cannot be used: ${problem}`, {
    hint,
    details: { image: what, problem },
  });
}

/** A bound of LIMITS by its name, and what was found instead. */
export function limit(
  what: string,
  which: "imageManifestBytes" | "imageIndexEntries" | "imageIndexDepth" | "imageLayers" | LimitOfSize,
  found: string,
): PyroError {
  return new PyroError("IMAGE_LIMIT_EXCEEDED", `${what} has ${found}, more than ${LIMITS[which]}`, {
    hint: "name another image: this bound is fixed",
    details: { image: what, limit: which, most: LIMITS[which] },
  });
}

type LimitOfSize = "imageConfigBytes" | "imageLayerBytes" | "imageBytes";
