import { chmod, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { failpoint, fingerprintOf, sha256File, syncDirectory, syncFile } from "../kit/index.js";
import { convertImage } from "./disk.js";
import { requireSpace, type HostPrograms } from "./host-tools.js";
import { IMAGE_VIRTUAL_BYTES, imagePath } from "./layout.js";
import type { Manifest } from "./record.js";
import type { EnvironmentStore } from "./store.js";

export interface SealRequest {
  readonly store: EnvironmentStore;
  readonly host: HostPrograms;
  /** What becomes the image: a raw disk, or the topmost layer of a chain of qcow2 files; nobody writes to it. */
  readonly from: { readonly path: string; readonly format: "raw" | "qcow2" };
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

/**
 * Makes a read-only image of a disk, whose name is its SHA-256, and then the manifest that names it.
 * @throws {PyroError} ENVIRONMENT_BUILD_FAILED, HOST_TOOL_NOT_FOUND, DISK_FULL; the environment is as it was then
 */
export async function sealImage(request: SealRequest): Promise<Manifest> {
  const { store, host, from, usedBytes, directory, signal, onProgress } = request;
  const sealing = join(directory, SEALING);
  await requireSpace(directory, usedBytes, "sealing the image");
  await rm(sealing, { force: true });
  await convertImage(host, from, sealing, signal, (share) =>
    onProgress(Math.floor(usedBytes * share), usedBytes, "writing the image"),
  );
  onProgress(usedBytes, usedBytes, "hashing the image");
  const [hash] = await Promise.all([sha256File(sealing, signal), syncFile(sealing)]);
  const digest = `sha256:${hash}`;
  // As root, QEMU reads it under a uid of its own.
  await chmod(sealing, 0o444);
  failpoint("pull.converted");
  const previous = await store.manifest(request.manifest.name);
  const path = imagePath(store.layout, digest);
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
  if (previous !== undefined && previous.digest !== digest) await dropReplaced(request, previous.digest);
  return manifest;
}

/** Removes the image that was replaced, unless another environment or a machine uses it. */
async function dropReplaced({ store, inUse }: SealRequest, digest: string): Promise<void> {
  if ((await store.manifests()).some((manifest) => manifest.digest === digest)) return;
  if ((await inUse?.())?.has(digest) === true) return;
  await rm(imagePath(store.layout, digest), { force: true });
}
