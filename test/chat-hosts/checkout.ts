import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

/** A user's Git checkout, all committed. */
export interface Checkout extends AsyncDisposable {
  readonly path: string;
  /** Mode and hash of everything in it by path, Git's own files too. */
  readonly fingerprint: () => Promise<Readonly<Record<string, string>>>;
  /** `git status --porcelain`. */
  readonly status: () => Promise<string>;
}

export async function checkoutOf(files: Readonly<Record<string, string>>): Promise<Checkout> {
  const path = await mkdtemp(join(tmpdir(), "pyro-checkout-"));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), text);
  }
  const git = async (...args: string[]): Promise<string> => {
    const identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
    // Without this, to look at the status would write the index.
    const env = { ...process.env, GIT_OPTIONAL_LOCKS: "0" };
    const { stdout } = await promisify(execFile)("git", [...identity, ...args], { cwd: path, env });
    return stdout;
  };
  await git("init", "-q", "-b", "trunk");
  await git("add", ".");
  await git("commit", "-qm", "a test that fails");
  return {
    path,
    fingerprint: () => fingerprint(path),
    status: () => git("status", "--porcelain"),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

async function fingerprint(root: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of (await readdir(root, { recursive: true })).sort()) {
    const path = join(root, name);
    const info = await lstat(path);
    const bytes = info.isFile() ? await readFile(path) : info.isSymbolicLink() ? await readlink(path) : "";
    const hash = createHash("sha256").update(bytes).digest("hex");
    found[name] = `${info.mode.toString(8)} ${hash}`;
  }
  return found;
}
