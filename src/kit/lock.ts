import { open } from "node:fs/promises";
import { complete } from "./launch.js";

/** An exclusive lock on a file; it ends with this process however that dies. */
export interface FileLock extends AsyncDisposable {
  readonly path: string;
}

/**
 * Takes the lock, or gives undefined where another process holds it.
 *
 * Node has no flock(2). The lock belongs to the open file description, which a child shares: util-linux's `flock`
 * takes it on the inherited descriptor and leaves, and the lock stays for as long as this process keeps the file open.
 * Descriptors of Node are close-on-exec, so no other child holds it by accident.
 */
export async function tryLock(path: string): Promise<FileLock | undefined> {
  const file = await open(path, "a", 0o600);
  try {
    const { code, stderrTail } = await complete("flock", ["--exclusive", "--nonblock", "3"], {
      extraDescriptors: [file.fd],
    });
    if (code === 0) {
      let closed: Promise<void> | undefined;
      return { path, [Symbol.asyncDispose]: () => (closed ??= file.close()) };
    }
    if (code !== 1) throw new Error(`flock failed on ${path}: ${stderrTail.trim()}`);
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return undefined;
}
