import { createHash } from "node:crypto";
import { chmod, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";

/**
 * Size of every image's disk, and so of every workspace overlay on it: one size lets one memory template serve all
 * environments. Sparse: an image occupies what its files do.
 */
export const IMAGE_VIRTUAL_BYTES = 16 * 1024 ** 3;

/** Where the image room keeps things below the cache directory; everything in it can be made again. */
export interface ImageLayout {
  /** Images by digest, read-only: `sha256-<hex>.qcow2`. */
  readonly images: string;
  /** One manifest per pulled environment, written last. */
  readonly manifests: string;
  /** An empty file per environment, as old as its last use. */
  readonly uses: string;
  /** Packages as apt fetched them, per suite; shared by all environments of the suite. */
  readonly packages: string;
  /** One directory per pull that has not ended yet. */
  readonly pulls: string;
  /** What builds keep: layers of steps, and which of them a built environment is made of (src/build). */
  readonly builds: string;
}

/** The layout below a cache directory. */
export function layoutOf(cache: string): ImageLayout {
  return {
    images: join(cache, "images"),
    manifests: join(cache, "environments"),
    uses: join(cache, "uses"),
    packages: join(cache, "packages"),
    pulls: join(cache, "pulls"),
    builds: join(cache, "builds"),
  };
}

/** A reference may be longer than a file's name. */
const NAME_CHARS_MAX = 200;

/** A file name for an environment's name ("debian:12", "registry.test/team/tool:1"); two names never share one. */
export function safeName(name: string): string {
  const safe = encodeURIComponent(name).replaceAll("_", "%5F").replaceAll("%3A", "_");
  if (safe.length <= NAME_CHARS_MAX) return safe;
  // No name has a tilde.
  return `~${createHash("sha256").update(name).digest("hex")}`;
}

/** The name that a file is called by, for messages; a long one's is only its hash. */
export function nameOfFile(file: string): string {
  if (file.startsWith("~")) return file;
  try {
    return decodeURIComponent(file.replaceAll("_", "%3A"));
  } catch {
    return file;
  }
}

/** Path of an image by its digest ("sha256:…"). */
export function imagePath(layout: ImageLayout, digest: string): string {
  return join(layout.images, `${digest.replace(":", "-")}.qcow2`);
}

/** Path of an environment's manifest. */
export function manifestPath(layout: ImageLayout, name: string): string {
  return join(layout.manifests, `${safeName(name)}.json`);
}

/**
 * Makes a directory of the cache. As root it can be traversed by others, because QEMU runs under a uid of its own and
 * reads images; otherwise it is the user's alone.
 */
export async function makeCacheDirectory(path: string): Promise<void> {
  const mode = process.getuid?.() === 0 ? 0o755 : 0o700;
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  // The umask may have taken bits away that QEMU's uid needs.
  for (let each = path; each.length >= first.length; each = dirname(each)) await chmod(each, mode);
}
