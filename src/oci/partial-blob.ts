import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { chmod, open, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { failpoint, syncDirectory } from "../kit/index.js";
import { digestMismatch, sizeMismatch } from "./blob-errors.js";
import type { BlobTap } from "./blob-tap.js";
import { shortDigest, type Digest } from "./digest.js";

/** As much of a blob as was fetched, by anybody at any time; proven only when it is whole. */
export class PartialBlob implements AsyncDisposable {
  #received = 0;
  #hash: Hash = createHash("sha256");

  private constructor(
    readonly path: string,
    readonly digest: Digest,
    readonly sizeBytes: number,
    private readonly file: FileHandle,
    private readonly tap: BlobTap | undefined,
  ) {}

  /** Opens what is there and hashes it anew: what an earlier process wrote is not trusted further than its bytes. */
  static async open(
    path: string,
    digest: Digest,
    sizeBytes: number,
    signal: AbortSignal,
    tap?: BlobTap,
  ): Promise<PartialBlob> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const file = await open(path, flags, 0o600).catch(async (error: unknown) => {
      // One that was proven, and whose process was killed before it had its place, is read-only already.
      if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
      await chmod(path, 0o600);
      return await open(path, flags);
    });
    const partial = new PartialBlob(path, digest, sizeBytes, file, tap);
    try {
      await tap?.restart();
      const { size } = await file.stat();
      if (size > sizeBytes) await partial.restart();
      else await partial.#rehash(size, signal);
      return partial;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** How many bytes there are: where a download goes on. */
  get received(): number {
    return this.#received;
  }

  /** @throws {PyroError} BLOB_SIZE_MISMATCH for more than there may be; nothing is written then */
  async append(chunk: Uint8Array): Promise<void> {
    if (this.#received + chunk.length > this.sizeBytes)
      throw sizeMismatch(this.digest, this.sizeBytes, "more");
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await this.file.write(chunk, done, chunk.length - done, this.#received + done);
      done += bytesWritten;
    }
    this.#hash.update(chunk);
    this.#received += chunk.length;
    failpoint("blob.appended");
    await this.tap?.take(chunk);
  }

  /** Forgets all bytes. */
  async restart(): Promise<void> {
    await this.file.truncate(0);
    this.#received = 0;
    this.#hash = createHash("sha256");
    await this.tap?.restart();
  }

  /**
   * Proves it and gives it its place: read-only, on the disk, under its name.
   * @throws {PyroError} BLOB_DIGEST_MISMATCH; its bytes are forgotten then
   */
  async seal(target: string, hint?: string): Promise<void> {
    const found = `sha256:${this.#hash.digest("hex")}` as Digest;
    if (found !== this.digest) {
      await this.restart();
      throw digestMismatch(shortDigest(this.digest), this.digest, found, hint);
    }
    await this.file.sync();
    await chmod(this.path, 0o444);
    failpoint("blob.proven");
    await rename(this.path, target);
    await syncDirectory(dirname(target));
    failpoint("blob.sealed");
  }

  /** Removes it: nothing of it is of use to anybody. */
  async remove(): Promise<void> {
    await rm(this.path, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
    // What nothing was written to says nothing.
    if (this.#received === 0) await this.remove();
  }

  async #rehash(size: number, signal: AbortSignal): Promise<void> {
    while (this.#received < size) {
      signal.throwIfAborted();
      const buffer = Buffer.allocUnsafe(1024 * 1024);
      const { bytesRead } = await this.file.read(buffer, 0, buffer.length, this.#received);
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      this.#hash.update(chunk);
      this.#received += bytesRead;
      await this.tap?.take(chunk);
    }
  }
}
