import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";

/**
 * What tells, without reading it, that a file is the one that was hashed: any write through the file system moves at
 * least one of these (ctime cannot be set back). Decimal strings, because nanoseconds exceed a JSON number.
 */
export interface Fingerprint {
  readonly dev: string;
  readonly ino: string;
  readonly size: string;
  readonly mtime_ns: string;
  readonly ctime_ns: string;
}

/** The fingerprint of a file as it stands now. */
export async function fingerprintOf(path: string): Promise<Fingerprint> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  return {
    dev: dev.toString(),
    ino: ino.toString(),
    size: size.toString(),
    mtime_ns: mtimeNs.toString(),
    ctime_ns: ctimeNs.toString(),
  };
}

/** Whether two fingerprints are of the same, untouched file. */
export function sameFingerprint(a: Fingerprint, b: Fingerprint): boolean {
  return (
    a.dev === b.dev &&
    a.ino === b.ino &&
    a.size === b.size &&
    a.mtime_ns === b.mtime_ns &&
    a.ctime_ns === b.ctime_ns
  );
}

const READ_BYTES = 1024 * 1024;

/**
 * SHA-256 of a file, lower-case hexadecimal. The next part is read while one is hashed, into the same two buffers again
 * and again: new ones have V8 collect garbage for every 15 of them.
 */
export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  await using file = await open(path);
  let [now, next] = [Buffer.allocUnsafe(READ_BYTES), Buffer.allocUnsafe(READ_BYTES)];
  for (let read = file.read(now); ;) {
    const { bytesRead } = await read;
    signal?.throwIfAborted();
    if (bytesRead === 0) return hash.digest("hex");
    read = file.read(next);
    hash.update(now.subarray(0, bytesRead));
    [now, next] = [next, now];
  }
}
