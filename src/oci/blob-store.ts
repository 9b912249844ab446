import { chmod, mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  allocatedBytes,
  failpoint,
  fingerprintOf,
  sameFingerprint,
  sha256File,
  tryLock,
  writeFileAtomic,
  type FileLock,
  type Fingerprint,
} from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { digestMismatch } from "./blob-errors.js";
import type { BlobTap } from "./blob-tap.js";
import { digestOf, hexOf, isDigest, parseDigest, shortDigest, type Digest } from "./digest.js";
import { parseDocument } from "./manifest.js";
import { PartialBlob } from "./partial-blob.js";

export interface StoreUsage {
  readonly blobs: number;
  readonly blobBytes: number;
  readonly partials: number;
  readonly partialBytes: number;
}

export interface StorePruneResult {
  readonly removed: readonly Digest[];
  readonly removedPartials: number;
  readonly freedBytes: number;
}

/**
 * Content by its digest, in a directory of its own: `blobs/sha256/HEX` is whole, proven and read-only; `partial/HEX` is
 * what a download got so far. One process has it at a time.
 */
export class BlobStore implements AsyncDisposable {
  readonly #blobs: string;
  readonly #partials: string;
  /** What was proven in this process: who touches a file moves its fingerprint, and it is read again. */
  readonly #proven = new Map<Digest, Fingerprint>();

  private constructor(
    readonly directory: string,
    private readonly lock: FileLock,
  ) {
    this.#blobs = join(directory, "blobs/sha256");
    this.#partials = join(directory, "partial");
  }

  /** @throws {PyroError} ENVIRONMENT_BUSY when another process has it */
  static async open(directory: string): Promise<BlobStore> {
    // As root, others may traverse it: QEMU runs under a user id of its own, and reads layers.
    const mode = process.getuid?.() === 0 ? 0o755 : 0o700;
    await makeDirectory(directory, mode);
    const lock = await tryLock(join(directory, "lock"));
    if (lock === undefined) {
      throw new PyroError("ENVIRONMENT_BUSY", `another process has the image store ${directory}`, {
        hint: "wait for it, then try again; `pyro --state-dir DIR …` has a store of its own",
        retryable: true,
      });
    }
    const store = new BlobStore(directory, lock);
    await makeDirectory(join(directory, "blobs"), mode);
    await makeDirectory(store.#blobs, mode);
    await makeDirectory(store.#partials, 0o700);
    return store;
  }

  /** Where a blob is, or would be. */
  pathOf(digest: Digest): string {
    return join(this.#blobs, hexOf(digest));
  }

  /** The path of a blob that is here and whole; one that is not what its name says is removed. */
  async find(digest: Digest, signal?: AbortSignal): Promise<string | undefined> {
    const path = this.pathOf(digest);
    const now = await fingerprintOf(path).catch(ifMissing);
    if (now === undefined) return undefined;
    const proven = this.#proven.get(digest);
    if (proven !== undefined && sameFingerprint(now, proven)) return path;
    if (`sha256:${await sha256File(path, signal)}` === digest) {
      this.#proven.set(digest, now);
      return path;
    }
    await rm(path, { force: true });
    return undefined;
  }

  /** A small blob's bytes; undefined where it is not here, or longer than `maxBytes`. */
  async read(digest: Digest, maxBytes: number): Promise<Buffer | undefined> {
    const path = this.pathOf(digest);
    const facts = await stat(path).catch(ifMissing);
    if (facts === undefined || facts.size > maxBytes) return undefined;
    const bytes = await readFile(path);
    if (digestOf(bytes) === digest) return bytes;
    await rm(path, { force: true });
    return undefined;
  }

  /** Keeps bytes whose digest is known. @throws {PyroError} BLOB_DIGEST_MISMATCH */
  async put(digest: Digest, bytes: Uint8Array): Promise<string> {
    const found = digestOf(bytes);
    if (found !== digest) throw digestMismatch(shortDigest(digest), digest, found);
    const path = this.pathOf(digest);
    await writeFileAtomic(path, bytes, 0o444, () => failpoint("blob.written"));
    await chmod(path, 0o444);
    return path;
  }

  /** What there is of a blob, to go on with; one at a time for each digest. */
  async partial(digest: Digest, sizeBytes: number, signal: AbortSignal, tap?: BlobTap): Promise<PartialBlob> {
    return await PartialBlob.open(join(this.#partials, hexOf(digest)), digest, sizeBytes, signal, tap);
  }

  /**
   * Removes blobs that no manifest of `keep` leads to, and parts of downloads that nobody went on with for a week.
   * No pull may be under way, but those whose digests `busy` has.
   */
  async prune(keep: Iterable<Digest>, busy: ReadonlySet<Digest> = new Set()): Promise<StorePruneResult> {
    const kept = new Set<Digest>(busy);
    for (const digest of keep) await this.#mark(digest, kept);
    const removed: Digest[] = [];
    let freedBytes = 0;
    for (const { name, path, bytes } of await filesIn(this.#blobs)) {
      const digest = parseDigest(`sha256:${name}`);
      // A name that is no digest is what a killed `put` left.
      if (isDigest(digest) && kept.has(digest)) continue;
      await rm(path, { force: true });
      freedBytes += bytes;
      if (isDigest(digest)) removed.push(digest);
    }
    let removedPartials = 0;
    for (const { name, path, bytes, mtimeMs } of await filesIn(this.#partials)) {
      if (kept.has(`sha256:${name}` as Digest) || Date.now() - mtimeMs < LIMITS.partialBlobMs) continue;
      await rm(path, { force: true });
      freedBytes += bytes;
      removedPartials += 1;
    }
    return { removed, removedPartials, freedBytes };
  }

  /** What it holds on the disk. */
  async usage(): Promise<StoreUsage> {
    const sum = (files: readonly { bytes: number }[]): number =>
      files.reduce((all, { bytes }) => all + bytes, 0);
    const blobs = await filesIn(this.#blobs);
    const partials = await filesIn(this.#partials);
    return {
      blobs: blobs.length,
      blobBytes: sum(blobs),
      partials: partials.length,
      partialBytes: sum(partials),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lock[Symbol.asyncDispose]();
  }

  /** An image's manifest, its configuration and layers. An index keeps itself only: which image of it is used says the caller. */
  async #mark(digest: Digest, kept: Set<Digest>): Promise<void> {
    kept.add(digest);
    const bytes = await this.read(digest, LIMITS.imageManifestBytes);
    if (bytes === undefined) return;
    const document = parseDocument(digest, bytes, undefined);
    if (document.kind === "index") return;
    for (const each of [document.config, ...document.layers]) kept.add(each.digest);
  }
}

interface FileInStore {
  readonly name: string;
  readonly path: string;
  /** On the disk. */
  readonly bytes: number;
  readonly mtimeMs: number;
}

async function filesIn(directory: string): Promise<FileInStore[]> {
  const files: FileInStore[] = [];
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    const facts = await stat(path).catch(ifMissing);
    if (facts !== undefined) files.push({ name, path, bytes: allocatedBytes(facts), mtimeMs: facts.mtimeMs });
  }
  return files;
}

/** The umask may have taken bits away. */
async function makeDirectory(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode });
  await chmod(path, mode);
}

function ifMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
}
