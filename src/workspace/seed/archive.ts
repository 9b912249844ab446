import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { LIMITS, PyroError } from "../../protocol/index.js";
import { ArchiveCheck, archiveInvalid } from "./archive-check.js";
import { isTarHeader, isZeroBlock } from "./archive-header.js";
import { Batch } from "./batch.js";
import { ended, missingProgram, programIsMissing, startProgram } from "./host-program.js";
import { shown, textOf } from "./path.js";
import type { SeedTally } from "./tally.js";

const CHUNK_BYTES = 256 * 1024;

type Compression = "none" | "gzip" | "zstd";

/** Compressions that are told apart only to say how to undo them. */
const OTHERS = [
  { magic: "fd377a585a00", what: "compressed with xz", hint: "decompress it first: `xz -d FILE`" },
  { magic: "425a68", what: "compressed with bzip2", hint: "decompress it first: `bzip2 -d FILE`" },
  { magic: "504b0304", what: "a zip archive", hint: "unpack it first: `unzip FILE -d DIR`, then seed DIR" },
] as const;

/** A tar archive on the host, open. Its bytes go on as they are, once they are checked. */
export class Archive implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #name: string;
  readonly #compression: Compression;
  readonly #modifiedNs: bigint;

  private constructor(file: FileHandle, name: string, compression: Compression, modifiedNs: bigint) {
    this.#file = file;
    this.#name = name;
    this.#compression = compression;
    this.#modifiedNs = modifiedNs;
  }

  /**
   * Opens a file and finds out by its first bytes what it is.
   * @throws {PyroError} SEED_ARCHIVE_INVALID; and system errors
   */
  static async open(path: string): Promise<Archive> {
    // A FIFO in its place must not make us wait.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const name = textOf(path);
      const stat = await file.stat({ bigint: true });
      if (!stat.isFile()) throw archiveInvalid(name, "it is no file and no directory");
      const start = Buffer.alloc(512);
      const { bytesRead } = await file.read(start, 0, 512, 0);
      return new Archive(file, name, compressionOf(name, start.subarray(0, bytesRead)), stat.mtimeNs);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The tar in it, checked. @throws {PyroError} SEED_ARCHIVE_INVALID, SEED_TOO_LARGE, HOST_TOOL_NOT_FOUND */
  async *stream(tally: SeedTally, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
    const check = new ArchiveCheck(this.#name, tally);
    const batch = new Batch();
    const { size } = await this.#file.stat();
    let expanded = 0;
    for await (const chunk of this.#expanded(signal)) {
      signal.throwIfAborted();
      expanded += chunk.length;
      this.#hold(expanded, size);
      for (const piece of check.push(chunk)) yield* batch.add(piece);
      // A plain tar may be followed by anything; what is compressed has a checksum at its end.
      if (check.ended && this.#compression === "none") break;
    }
    check.end();
    yield* batch.flush();
    const { mtimeNs } = await this.#file.stat({ bigint: true });
    if (mtimeNs !== this.#modifiedNs) tally.warn(`${shown(this.#name)} was written to while it was read`);
  }

  #hold(expanded: number, size: number): void {
    if (this.#compression === "none" || expanded <= LIMITS.seedExpandedFreeBytes) return;
    if (expanded <= size * LIMITS.seedExpansionRatio) return;
    throw new PyroError(
      "SEED_TOO_LARGE",
      `the archive ${shown(this.#name)} has ${size} bytes and expands to more than ${expanded}`,
      {
        hint: "if that is meant, decompress it first and seed the plain tar",
        details: { which: "ratio", limit: LIMITS.seedExpansionRatio },
      },
    );
  }

  #expanded(signal: AbortSignal): AsyncIterable<Buffer> {
    switch (this.#compression) {
      case "none":
        return this.#raw();
      case "gzip":
        return this.#gunzip();
      case "zstd":
        return this.#unzstd(signal);
    }
  }

  async *#raw(): AsyncGenerator<Buffer, void, void> {
    for (let position = 0; ;) {
      const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      const { bytesRead } = await this.#file.read(buffer, 0, CHUNK_BYTES, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  async *#gunzip(): AsyncGenerator<Buffer, void, void> {
    const gunzip = createGunzip({ chunkSize: CHUNK_BYTES });
    const pumped = pipeline(this.#raw(), gunzip);
    // Its error is the stream's, too.
    pumped.catch(() => undefined);
    try {
      for await (const chunk of gunzip) yield chunk as Buffer;
    } catch (error) {
      if (error instanceof Error && "code" in error && String(error.code).startsWith("Z_")) {
        throw archiveInvalid(this.#name, `its compression is damaged or cut off (${error.message})`);
      }
      throw error;
    } finally {
      gunzip.destroy();
      await pumped.catch(() => undefined);
    }
  }

  async *#unzstd(signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
    // An open file of its own: the child reads from where the descriptor stands.
    await using input = await open(`/proc/self/fd/${this.#file.fd}`, "r");
    await using child = await startProgram("zstd", ["-dcq", "--no-progress"], { signal, stdin: input.fd });
    using _ = ended(child, signal);
    if (child.stdout !== null) for await (const chunk of child.stdout) yield chunk as Buffer;
    const exit = await child.exited;
    signal.throwIfAborted();
    if (programIsMissing("zstd", exit)) throw missingProgram("zstd");
    if (exit.code === 0) return;
    const said = exit.stderrTail.trim().split("\n").at(-1)?.slice(0, 300) ?? "";
    throw archiveInvalid(this.#name, `its compression is damaged or cut off (${said})`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

function compressionOf(name: string, start: Buffer): Compression {
  const magic = start.toString("hex", 0, 6);
  if (magic.startsWith("1f8b")) return "gzip";
  // A frame of zstd, or one that readers skip.
  if (magic.startsWith("28b52ffd") || /^5.2a4d18/.test(magic)) return "zstd";
  const isTar = start.length === 512 && (isTarHeader(start) || isZeroBlock(start));
  if (isTar) return "none";
  const other = OTHERS.find((each) => magic.startsWith(each.magic));
  if (other !== undefined) throw archiveInvalid(name, `it is ${other.what}`, undefined, other.hint);
  throw archiveInvalid(name, start.length === 0 ? "it is empty" : "it is no tar, and no tar in gzip or zstd");
}
