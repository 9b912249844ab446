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
    const names = (await readdir(path)).sort();
    for (let at = 0; at < names.length; at += LOOKS_AT_ONCE) {
      const some = names.slice(at, at + LOOKS_AT_ONCE);
      const seen = await Promise.all(some.map((name) => look(join(path, name), join(relative, name))));
      for (const [index, name] of some.entries()) {
        const { entry, sizeBytes } = seen[index] ?? NOTHING;
        if (entry === undefined) continue;
        entries.push(entry);
        bytes += sizeBytes;
        if (entry.isDirectory) await visit(join(path, name), entry.path);
      }
    }
  };
  const top = await look(root, "");
  if (top.entry?.isDirectory === true) await visit(root, "");
  else if (top.entry !== undefined) entries.push(top.entry);
  return { entries, bytes: bytes + top.sizeBytes };
}

/** Files that are looked at while the file system answers for others. */
const LOOKS_AT_ONCE = 16;

interface Seen {
  /** Undefined for what was removed. */
  readonly entry: ExportedEntry | undefined;
  readonly sizeBytes: number;
}

const NOTHING: Seen = { entry: undefined, sizeBytes: 0 };

async function look(path: string, relative: string): Promise<Seen> {
  const stat = await lstat(path);
  const mode = stat.isSymbolicLink() ? 0 : stat.mode & KEPT_BITS;
  if (stat.isDirectory()) {
    // A directory that we could not enter would hide what is in it.
    await setMode(path, stat.mode, mode | 0o700);
    return { entry: { path: relative, mode: 0, isDirectory: true, content: undefined }, sizeBytes: 0 };
  }
  const entry = { path: relative, mode, isDirectory: false, content: undefined };
  if (stat.isFile()) {
    await setMode(path, stat.mode, mode | 0o600);
    return { entry: { ...entry, content: await beginningOf(path, stat.size) }, sizeBytes: stat.size };
  }
  if (stat.isSymbolicLink()) return { entry, sizeBytes: 0 };
  await rm(path);
  return NOTHING;
}

async function setMode(path: string, now: number, wanted: number): Promise<void> {
  if ((now & 0o7777) !== wanted) await chmod(path, wanted);
}

async function beginningOf(path: string, sizeBytes: number): Promise<string | undefined> {
  await using file = await open(path, "r");
  const buffer = Buffer.allocUnsafe(Math.min(sizeBytes, LIMITS.hostExecutableLookBytes));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  return buffer.subarray(0, bytesRead).toString("latin1");
}
