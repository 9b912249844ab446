import { chmod, lstat, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../protocol/index.js";

/** One thing that an export brought. */
interface ExportedEntry {
  /** Relative to the export; "" is the thing itself. */
  readonly path: string;
  readonly mode: number;
  readonly isDirectory: boolean;
  /** The beginning of a small file, to find out whether the host would run it. */
  readonly content: string | undefined;
}

/** What a mode keeps on the host: nothing that lends a user's rights, nothing that lets others write. */
const KEPT_BITS = 0o755;

/**
 * What an export brought, and how much. Takes away what must not reach the host: bits that lend a user's rights or let
 * others write, and anything that is no file, directory or link.
 */
export async function exportedTree(
  root: string,
): Promise<{ readonly entries: readonly ExportedEntry[]; readonly bytes: number }> {
  const entries: ExportedEntry[] = [];
  let bytes = 0;
  const visit = async (path: string, relative: string): Promise<void> => {
    const stat = await lstat(path);
    const mode = stat.isSymbolicLink() ? 0 : stat.mode & KEPT_BITS;
    // A directory that we could not enter would hide what is in it.
    if (stat.isDirectory()) await chmod(path, mode | 0o700);
    else if (stat.isFile()) await chmod(path, mode | 0o600);
    if (stat.isDirectory()) {
      if (relative !== "") entries.push({ path: relative, mode: 0, isDirectory: true, content: undefined });
      for (const name of (await readdir(path)).sort()) await visit(join(path, name), join(relative, name));
    } else if (stat.isFile()) {
      bytes += stat.size;
      entries.push({ path: relative, mode, isDirectory: false, content: await beginningOf(path) });
    } else if (stat.isSymbolicLink())
      entries.push({ path: relative, mode, isDirectory: false, content: undefined });
    else await rm(path);
  };
  await visit(root, "");
  return { entries, bytes };
}

async function beginningOf(path: string): Promise<string | undefined> {
  await using file = await open(path, "r");
  const buffer = Buffer.alloc(LIMITS.hostExecutableLookBytes);
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  return buffer.subarray(0, bytesRead).toString("latin1");
}
