import { stat } from "node:fs/promises";

/** Of stat(2), whatever the file system's own block is. */
const BLOCK_BYTES = 512;

/** What a file takes on the disk. */
export async function allocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * BLOCK_BYTES;
}
