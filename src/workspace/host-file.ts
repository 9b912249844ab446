import { open, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { PyroError } from "../protocol/index.js";

/**
 * Makes a file of the host anew where nothing is. Zeros become holes, so that what is sparse in the guest costs no more
 * here; what cannot fit is refused before any of it is there.
 * @throws {PyroError} DISK_FULL; and the host's own errors
 */
export async function writeHostFile(
  path: string,
  data: AsyncIterable<Uint8Array>,
  { sizeBytes, mode }: { readonly sizeBytes: number; readonly mode: number },
): Promise<void> {
  await requireAddressable(path, sizeBytes);
  await using file = await open(path, "wx", 0o600);
  let at = 0;
  for await (const chunk of data) {
    if (!isZero(chunk)) await writeAll(file, chunk, at);
    at += chunk.length;
  }
  await file.truncate(at);
  await file.chmod(mode);
  await file.sync();
}

type File = Awaited<ReturnType<typeof open>>;

async function writeAll(file: File, chunk: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < chunk.length;) {
    const { bytesWritten } = await file.write(chunk, done, chunk.length - done, position + done);
    done += bytesWritten;
  }
}

const ZEROS = Buffer.alloc(64 * 1024);

function isZero(chunk: Uint8Array): boolean {
  // Most chunks show it in their first byte.
  if (chunk[0] !== 0) return chunk.length === 0;
  return chunk.length <= ZEROS.length && ZEROS.subarray(0, chunk.length).equals(chunk);
}

/** A guest may claim any size for a file of holes: more than the whole disk has is not worth waiting for. */
async function requireAddressable(path: string, sizeBytes: number): Promise<void> {
  const { blocks, bsize } = await statfs(dirname(path));
  const diskBytes = blocks * bsize;
  if (sizeBytes <= diskBytes) return;
  throw diskFull(path, `it has ${sizeBytes} bytes, and the whole disk has ${diskBytes}`);
}

/** @param why words after "… does not fit on its disk: " */
export function diskFull(path: string, why: string, cause?: unknown): PyroError {
  return new PyroError("DISK_FULL", `${path} does not fit on its disk: ${why}`, {
    hint: "free some space there, or name a path on another disk",
    details: { why },
    retryable: true,
    cause,
  });
}
