import { createReadStream } from "node:fs";
import { lstat, readlink } from "node:fs/promises";
import { join } from "node:path";
import type { Redactor } from "./secrets/index.js";

/**
 * Which of the paths below a directory of the host (or the thing itself, as "") hold a secret: in their bytes, in the target
 * of a link, or in their name. Nothing is changed.
 */
export async function pathsWithSecrets(
  root: string,
  paths: readonly string[],
  redactor: Redactor,
): Promise<string[]> {
  if (redactor.isEmpty) return [];
  const found: string[] = [];
  for (const path of paths) {
    if (redactor.finds(path) || (await holdsSecret(join(root, path), redactor))) found.push(path);
  }
  return found;
}

async function holdsSecret(path: string, redactor: Redactor): Promise<boolean> {
  const stat = await lstat(path);
  if (stat.isSymbolicLink()) return redactor.finds(await readlink(path, { encoding: "buffer" }));
  if (!stat.isFile() || stat.size === 0) return false;
  return await redactor.findsIn(createReadStream(path, { highWaterMark: READ_BYTES }));
}

const READ_BYTES = 256 * 1024;
