import { shown } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { archiveInvalid, readFile, type Archive, type ArchiveName } from "./archive.js";
import { digestMismatch, sizeMismatch } from "./blob-errors.js";
import type { BlobStore } from "./blob-store.js";
import type { BlobTap } from "./blob-tap.js";
import { digestOf, hexOf, shortDigest, type Digest } from "./digest.js";
import { limit, parseDocument, type Descriptor, type IndexEntry, type Platform } from "./manifest.js";
import { INDEX_TYPES } from "./media-types.js";
import { fits, noPlatform } from "./platform.js";
import type { FetchedDocument } from "./repository.js";

/** Images that are named in a message. */
const SHOWN = 10;
const DAMAGED = "the archive is damaged: make it, or copy it here, anew";

/**
 * The image of an archive for a platform.
 * @param name of one of several images, as `org.opencontainers.image.ref.name` has it, or its digest where it has none
 * @throws {PyroError} IMAGE_ARCHIVE_INVALID, IMAGE_MANIFEST_INVALID, IMAGE_NOT_FOUND, AMBIGUOUS_REFERENCE,
 *   IMAGE_PLATFORM_NOT_FOUND
 */
export async function chooseArchived(
  archive: Archive,
  wanted: Platform,
  name: string | undefined,
  signal: AbortSignal,
): Promise<IndexEntry> {
  const bytes = await readFile(archive, "index.json", LIMITS.imageManifestBytes, signal);
  if (bytes === undefined) throw limit(archive.name, "imageManifestBytes", "an index.json of more bytes");
  const [indexType] = INDEX_TYPES;
  const index = parseDocument(archive.name, bytes, indexType);
  if (index.kind !== "index") throw archiveInvalid(archive.name, "its index.json is no index", DAMAGED);
  const images = index.entries.filter(({ isAttestation }) => !isAttestation);
  const named = name === undefined ? images : images.filter((entry) => calledIn(entry).includes(name));
  const there = [...new Set(images.flatMap(calledIn))].slice(0, SHOWN);
  if (named.length === 0) {
    throw new PyroError(
      "IMAGE_NOT_FOUND",
      `${shown(archive.name)} has no image${name === undefined ? "" : ` ${shown(name)}`}`,
      {
        hint: there.length === 0 ? "name another archive" : `it has ${there.map(shown).join(", ")}`,
        details: { archive: archive.name, names: there },
      },
    );
  }
  const fitting = named.filter(({ platform }) => platform === undefined || fits(platform, wanted));
  const [first] = fitting;
  if (first === undefined) {
    throw noPlatform(
      archive.name,
      named.map(({ platform }) => platform),
      wanted,
    );
  }
  if (new Set(fitting.map(({ digest }) => digest)).size === 1) return first;
  const [example = ""] = calledIn(first);
  throw new PyroError(
    "AMBIGUOUS_REFERENCE",
    `${shown(archive.name)} has several images: ${there.map(shown).join(", ")}`,
    {
      hint: `name one of them: \`--image ${shown(example)}\``,
      details: { archive: archive.name, names: there },
    },
  );
}

/** What an archive calls an image: by its digest where it has no name. */
function calledIn({ names, digest }: IndexEntry): readonly string[] {
  return names.length === 0 ? [digest] : names;
}

const nameOf = (digest: Digest): ArchiveName => `blobs/sha256/${hexOf(digest)}`;

/** A manifest or an index of an archive, proven. @throws {PyroError} BLOB_NOT_FOUND, BLOB_DIGEST_MISMATCH, IMAGE_LIMIT_EXCEEDED */
export async function archivedDocument(
  archive: Archive,
  digest: Digest,
  signal: AbortSignal,
): Promise<FetchedDocument> {
  const name = nameOf(digest);
  if ((await archive.size(name)) === undefined) throw missing(archive, digest);
  const bytes = await readFile(archive, name, LIMITS.imageManifestBytes, signal);
  if (bytes === undefined) throw limit(archive.name, "imageManifestBytes", "a manifest of more bytes");
  const found = digestOf(bytes);
  if (found !== digest) throw digestMismatch(shortDigest(digest), digest, found, DAMAGED);
  return { bytes, digest, mediaType: undefined };
}

/**
 * Takes a blob of an archive into the store; it has its place there once it is proven.
 * @throws {PyroError} BLOB_NOT_FOUND, BLOB_SIZE_MISMATCH, BLOB_DIGEST_MISMATCH
 */
export async function takeBlob(
  archive: Archive,
  { digest, sizeBytes }: Descriptor,
  store: BlobStore,
  signal: AbortSignal,
  onBytes: (received: number) => void,
  tap?: BlobTap,
): Promise<string> {
  const size = await archive.size(nameOf(digest));
  if (size === undefined) throw missing(archive, digest);
  if (size !== sizeBytes) throw sizeMismatch(digest, sizeBytes, size > sizeBytes ? "more" : size, DAMAGED);
  const target = store.pathOf(digest);
  await using partial = await store.partial(digest, sizeBytes, signal, tap);
  // What an earlier download left may be anything: a disk is quick enough to begin anew.
  await partial.restart();
  for await (const chunk of archive.read(nameOf(digest), 0, signal)) {
    await partial.append(chunk);
    onBytes(partial.received);
  }
  await partial.seal(target, DAMAGED);
  return target;
}

function missing(archive: Archive, digest: Digest): PyroError {
  return new PyroError(
    "BLOB_NOT_FOUND",
    `${shown(archive.name)} has no ${shortDigest(digest)}, which its image is made of`,
    {
      hint: "make the archive anew; one of a single platform of several is made by `skopeo copy --override-arch amd64 …`",
      details: { archive: archive.name, digest },
    },
  );
}
