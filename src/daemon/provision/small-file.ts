import { constants } from "node:fs";
import { open } from "node:fs/promises";

/** More than any bundle of certificates has. */
const BYTES_MAX = 1024 * 1024;

/** The text of a plain file of at most a MiB; undefined for anything else. Never waits for a pipe or a device. */
export async function readSmallFile(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = await file.stat();
    return facts.isFile() && facts.size <= BYTES_MAX ? await file.readFile("utf8") : undefined;
  } catch {
    return undefined;
  }
}
