import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { constants, createGzip } from "node:zlib";
import type { Digest, NewLayer } from "../oci/index.js";
import { PyroError } from "../protocol/index.js";
import type { PackedTree } from "./packer.js";

/**
 * Writes a tar as the blob of a layer, packed by gzip, which every tool takes. The same tar gives the same bytes.
 * @param onBytes told how much of the tar is done
 * @throws {PyroError} DISK_FULL, and what the tar's source does; what is written is of no use then
 */
export async function packLayer(
  { tar }: PackedTree,
  path: string,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<NewLayer> {
  const inner = createHash("sha256");
  const outer = createHash("sha256");
  let tarBytes = 0;
  let sizeBytes = 0;
  try {
    await pipeline(
      tar,
      async function* (source: AsyncIterable<Uint8Array>) {
        for await (const chunk of source) {
          inner.update(chunk);
          tarBytes += chunk.length;
          onBytes(tarBytes);
          yield chunk;
        }
      },
      createGzip({ level: constants.Z_DEFAULT_COMPRESSION }),
      async function* (source: AsyncIterable<Buffer>) {
        for await (const chunk of source) {
          outer.update(chunk);
          sizeBytes += chunk.length;
          yield chunk;
        }
      },
      createWriteStream(path, { flags: "wx", mode: 0o600 }),
      { signal },
    );
  } catch (error) {
    signal.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOSPC" && code !== "EDQUOT") throw error;
    throw new PyroError("DISK_FULL", "no space is left for the layer that is to be pushed", {
      hint: "free some space (`pyro env prune` removes what nothing uses), then push again",
      details: { written_bytes: sizeBytes },
      retryable: true,
    });
  }
  const digest = (hash: typeof inner): Digest => `sha256:${hash.digest("hex")}` as Digest;
  return { path, digest: digest(outer), sizeBytes, diffId: digest(inner) };
}
