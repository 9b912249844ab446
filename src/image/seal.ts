import { rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import {
  failpoint,
  fingerprintOf,
  readJsonFile,
  sealFile,
  sha256File,
  syncDirectory,
  syncFile,
  writeFileAtomic,
} from "../kit/index.js";
import { convertImage } from "./disk.js";
import { requireSpace, type HostPrograms } from "./host-tools.js";
import { IMAGE_VIRTUAL_BYTES, imagePath } from "./layout.js";
import { requireStandalone } from "./qcow2-header.js";
import type { Manifest } from "./record.js";
import type { EnvironmentStore } from "./store.js";

export interface SealRequest {
  readonly store: EnvironmentStore;
  readonly host: HostPrograms;
  /**
   * What becomes the image, to which nobody writes: a qcow2 that is a disk by itself, which is moved; or one, with what lies
   * below it, whose content is copied, without the room that freed clusters take.
   */
  readonly from: { readonly path: string; readonly by: "move" | "copy" };
  /** About what it holds, for the check of free space and for progress. */
  readonly usedBytes: number;
  /** A directory of the caller's in the cache: the image is written there first. */
  readonly directory: string;
  /** What the manifest says besides; an environment of the same name is replaced. */
  readonly manifest: Pick<
    Manifest,
    "name" | "source" | "recipe" | "packages" | "config" | "origin" | "saved_from"
  >;
  /** Digests of images that a machine or a workspace uses; their files stay. */
  readonly inUse?: () => Promise<ReadonlySet<string>>;
  readonly signal: AbortSignal;
  readonly onProgress: (bytesDone: number, bytesTotal: number, message: string) => void;
}

const SEALING = "image.qcow2";
/** In the directory of whoever makes an image. */
export const SEALED_NOTE = "sealed.json";

/**
 * Makes a read-only image of a disk, whose name is its SHA-256, and then the manifest that names it.
 * @throws {PyroError} ENVIRONMENT_BUILD_FAILED, HOST_TOOL_NOT_FOUND, DISK_FULL; the environment is as it was then
 */
export async function sealImage(request: SealRequest): Promise<Manifest> {
  const { store, from, usedBytes, signal, onProgress } = request;
  const sealing = from.by === "move" ? from.path : await copyAsOne(request);
  await requireStandalone(sealing);
  onProgress(usedBytes, usedBytes, "hashing the image");
  const [hash] = await Promise.all([sha256File(sealing, signal), syncFile(sealing)]);
  const digest = `sha256:${hash}`;
  // Of an unpacked disk that was so already its record still holds.
  if (((await stat(sealing)).mode & 0o777) !== 0o444) await sealFile(sealing);
  failpoint("pull.hashed");
  const previous = await store.manifest(request.manifest.name);
  const path = imagePath(store.layout, digest);
  const leftBehind = await noteSealed(request.directory, digest);
  await rename(sealing, path);
  await syncDirectory(store.layout.images);
  failpoint("pull.renamed");
  const manifest: Manifest = {
    ...request.manifest,
    format: 1,
    digest,
    size_bytes: (await stat(path)).size,
    virtual_bytes: IMAGE_VIRTUAL_BYTES,
    created_at_ms: Date.now(),
    fingerprint: await fingerprintOf(path),
  };
  await store.writeManifest(manifest);
  for (const other of [previous?.digest, leftBehind]) {
    if (other !== undefined && other !== digest) await dropReplaced(request, other);
  }
  return manifest;
}

/**
 * Remembers which image is about to stand among the others without a manifest; gives the one that is left there since an
 * earlier attempt was killed.
 */
async function noteSealed(directory: string, digest: string): Promise<string | undefined> {
  const path = join(directory, SEALED_NOTE);
  const { data } = z.object({ digest: z.string() }).safeParse(await readJsonFile(path));
  await writeFileAtomic(path, JSON.stringify({ digest }));
  return data?.digest;
}

/** A disk, or a chain of them, as one file without room for nothing. */
async function copyAsOne({
  host,
  from,
  usedBytes,
  directory,
  signal,
  onProgress,
}: SealRequest): Promise<string> {
  const sealing = join(directory, SEALING);
  await requireSpace(directory, usedBytes, "sealing the image");
  await rm(sealing, { force: true });
  await convertImage(host, { path: from.path, format: "qcow2" }, sealing, signal, (share) =>
    onProgress(Math.floor(usedBytes * share), usedBytes, "writing the image"),
  );
  return sealing;
}

/** Removes an image whose place was taken, unless another environment or a machine uses it. */
async function dropReplaced({ store, inUse }: SealRequest, digest: string): Promise<void> {
  if ((await store.manifests()).some((manifest) => manifest.digest === digest)) return;
  if ((await inUse?.())?.has(digest) === true) return;
  await rm(imagePath(store.layout, digest), { force: true });
}
