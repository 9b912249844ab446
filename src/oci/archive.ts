import { constants, type Stats } from "node:fs";
import { access, lstat, open, realpath, stat, type FileHandle } from "node:fs/promises";
import { basename, join } from "node:path";
import { shown } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { indexTar, type TarPlace } from "./tar-index.js";

/**
 * Files of an image on this host: an OCI layout (image-spec, image-layout.md), as a directory or as a tar. Only the names of
 * that specification are ever opened; whatever else is in there is not looked at, and nothing is unpacked.
 */
export interface Archive extends AsyncDisposable {
  /** For messages. */
  readonly name: string;
  /** Length of a file; undefined where there is no plain file of the name. */
  size(name: ArchiveName): Promise<number | undefined>;
  /** A file's bytes from one on; the file has to be there. */
  read(name: ArchiveName, from: number, signal: AbortSignal): AsyncIterable<Buffer>;
}

export type ArchiveName = "oci-layout" | "index.json" | "manifest.json" | `blobs/sha256/${string}`;

const NAME = /^(?:oci-layout|index\.json|manifest\.json|blobs\/sha256\/[0-9a-f]{64})$/;
const CHUNK_BYTES = 1024 * 1024;
/** What a file begins with that has to be unpacked first, and by what. */
const PACKED: readonly (readonly [RegExp, string])[] = [
  [/^1f8b/, "gunzip"],
  [/^28b52ffd/, "unzstd"],
  [/^fd377a585a/, "unxz"],
  [/^425a68/, "bunzip2"],
];

/**
 * Opens a layout, or an archive of one.
 * @throws {PyroError} IMAGE_ARCHIVE_INVALID, IMAGE_FORMAT_NOT_SUPPORTED
 */
export async function openArchive(path: string, signal: AbortSignal): Promise<Archive> {
  const facts = await factsOf(path).catch((error: unknown) => {
    throw archiveInvalid(
      path,
      `it cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown"})`,
      NAME_IT,
    );
  });
  if (!facts.isDirectory() && !facts.isFile())
    throw archiveInvalid(path, "it is no file and no directory", NAME_IT);
  const archive = facts.isDirectory() ? await openDirectory(path) : await openTar(path, signal);
  try {
    await checkLayout(archive, path, signal);
    return archive;
  } catch (error) {
    await archive[Symbol.asyncDispose]();
    throw error;
  }
}

/** What a path leads to, where this user may read it. */
async function factsOf(path: string): Promise<Stats> {
  const facts = await stat(path);
  await access(path, facts.isDirectory() ? constants.R_OK | constants.X_OK : constants.R_OK);
  return facts;
}

const NAME_IT = "name an OCI archive or layout, such as `skopeo copy docker://IMAGE oci-archive:FILE` makes";

async function checkLayout(archive: Archive, path: string, signal: AbortSignal): Promise<void> {
  if ((await archive.size("index.json")) === undefined) {
    if ((await archive.size("manifest.json")) === undefined)
      throw archiveInvalid(path, "it has no index.json", NAME_IT);
    const to = `oci-archive:${basename(path)}.oci`;
    throw new PyroError("IMAGE_FORMAT_NOT_SUPPORTED", `${shown(path)} is an archive of docker's old format`, {
      hint: `make it one of today's: \`skopeo copy docker-archive:${path} ${to}\``,
      details: { path },
    });
  }
  if ((await archive.size("oci-layout")) === undefined) return;
  const layout = await readFile(archive, "oci-layout", LIMITS.archiveHeaderBytes, signal);
  if (/"imageLayoutVersion"\s*:\s*"1\./.test(layout?.toString("utf8") ?? "")) return;
  throw archiveInvalid(path, "its oci-layout is not of version 1", NAME_IT);
}

/** A small file's bytes; undefined where it is not there, or longer than `maxBytes`. */
export async function readFile(
  archive: Archive,
  name: ArchiveName,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const size = await archive.size(name);
  if (size === undefined || size > maxBytes) return undefined;
  const chunks: Buffer[] = [];
  let room = maxBytes;
  for await (const chunk of archive.read(name, 0, signal)) {
    room -= chunk.length;
    if (room < 0) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function openTar(path: string, signal: AbortSignal): Promise<Archive> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const head = Buffer.alloc(6);
    await file.read(head, 0, head.length, 0);
    const unpack = PACKED.find(([magic]) => magic.test(head.toString("hex")))?.[1];
    if (unpack !== undefined)
      throw archiveInvalid(path, "it is packed", `unpack it first: \`${unpack} ${path}\``);
    const places = await indexTar(file, (name) => NAME.test(name), signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw archiveInvalid(path, (error as Error).message, NAME_IT);
    });
    return tarArchive(path, file, places);
  } catch (error) {
    await file.close();
    throw error;
  }
}

function tarArchive(path: string, file: FileHandle, places: ReadonlyMap<string, TarPlace>): Archive {
  return {
    name: basename(path),
    size: (name) => Promise.resolve(places.get(name)?.sizeBytes),
    read: (name, from, signal) => {
      const { offset = 0, sizeBytes = 0 } = places.get(name) ?? {};
      return chunks(file, offset + from, offset + sizeBytes, signal);
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}

/** Links in the layout lead nowhere: it is whole by itself, and what it names elsewhere is not the user's word. */
async function openDirectory(path: string): Promise<Archive> {
  const root = await realpath(path);
  const blobs = await realpath(join(root, "blobs/sha256")).catch(() => undefined);
  if (blobs !== undefined && blobs !== join(root, "blobs/sha256"))
    throw archiveInvalid(path, "its blobs are a link", NAME_IT);
  return {
    name: basename(root),
    size: async (name) => {
      const facts = await lstat(join(root, name)).catch(() => undefined);
      return facts?.isFile() === true ? facts.size : undefined;
    },
    read: async function* (name, from, signal) {
      await using file = await open(
        join(root, name),
        constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
      );
      const facts = await file.stat();
      if (facts.isFile()) yield* chunks(file, from, facts.size, signal);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function* chunks(
  file: FileHandle,
  start: number,
  end: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  for (let at = start; at < end;) {
    signal.throwIfAborted();
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - at));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}

/** An archive that is none, or is not whole. */
export function archiveInvalid(path: string, problem: string, hint: string): PyroError {
  return new PyroError("IMAGE_ARCHIVE_INVALID", `${shown(path)} is no image that can be read: ${problem}`, {
    hint,
    details: { path, problem },
  });
}
