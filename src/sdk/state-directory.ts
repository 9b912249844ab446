import { lstat, mkdir } from "node:fs/promises";
import type { Stats } from "node:fs";
import { dirname } from "node:path";
import { PyroError } from "../protocol/index.js";

/**
 * Makes the state directory where it is missing, and proves that it is private: a real directory of this user that
 * nobody else can read or write. Whoever can write there owns the daemon's socket.
 * @throws {PyroError} STATE_NOT_PRIVATE, STATE_NOT_WRITABLE, DISK_FULL
 */
export async function prepareStateDirectory(path: string): Promise<void> {
  const found = await inspect(path);
  if (found === undefined) {
    try {
      await makePath(path);
    } catch (error) {
      throw notWritable(path, error);
    }
  }
  // Looked at again after making it: another may have made it meanwhile, as something else.
  requirePrivate(path, found ?? (await inspect(path)));
}

/** Makes a directory and its parents; mkdir's own `recursive` never ends where a parent takes no entries, as in /proc. */
async function makePath(path: string): Promise<void> {
  const parent = dirname(path);
  if (parent !== path && (await inspect(parent)) === undefined) await makePath(parent);
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

async function inspect(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw notWritable(path, error);
  }
}

function requirePrivate(path: string, found: Stats | undefined): void {
  const reason = whyNotPrivate(found);
  if (reason === undefined) return;
  const mode = found === undefined ? "" : (found.mode & 0o7777).toString(8).padStart(4, "0");
  throw new PyroError("STATE_NOT_PRIVATE", `the state directory ${path} ${reason}`, {
    hint:
      reason === OPEN_TO_OTHERS
        ? `run \`chmod 700 ${path}\` after making sure that nobody else put something there`
        : "choose another place with `pyro --state-dir DIR …`",
    details: { state_dir: path, mode, owner_uid: found?.uid ?? null },
  });
}

const OPEN_TO_OTHERS = "can be read or written by other users";

function whyNotPrivate(found: Stats | undefined): string | undefined {
  if (found === undefined) return "vanished while it was made";
  if (found.isSymbolicLink()) return "is a symbolic link";
  if (!found.isDirectory()) return "is not a directory";
  const uid = process.getuid?.();
  if (found.uid !== uid) return `belongs to user ${found.uid}, not to ${uid ?? "us"}`;
  // As root the machines' own users must traverse it (0711); they can list and change nothing.
  const forbidden = uid === 0 ? 0o066 : 0o077;
  return (found.mode & forbidden) === 0 ? undefined : OPEN_TO_OTHERS;
}

function notWritable(path: string, cause: unknown): PyroError {
  const known = PyroError.from(cause);
  if (known.code === "DISK_FULL" || known.code === "TOO_MANY_FILES") return known;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new PyroError("STATE_NOT_WRITABLE", `cannot use the state directory ${path}: ${reason}`, {
    hint: "choose a writable place with `pyro --state-dir DIR …`",
    details: { state_dir: path },
    cause,
  });
}
