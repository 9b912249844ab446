import { join } from "node:path";
import { tryLock, type FileLock } from "../kit/index.js";
import type { PyroError } from "../protocol/index.js";
import { makeCacheDirectory } from "./layout.js";

/** The file in a directory of the cache that whoever works there holds. */
export const LOCK = "lock";

/**
 * Takes a directory of the cache, which is made with the others; no other process has it until the lock is disposed of.
 * @throws {PyroError} what `busy` gives, where one has
 */
export async function takeDirectory(
  directory: string,
  others: readonly string[],
  busy: () => PyroError,
): Promise<FileLock> {
  for (const path of [...others, directory]) await makeCacheDirectory(path);
  const lock = await tryLock(join(directory, LOCK));
  if (lock === undefined) throw busy();
  return lock;
}
