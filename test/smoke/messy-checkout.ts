/** A published project as somebody works on it: committed as it was published, with all that lies about in a checkout. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFile,
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  symlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** What Git ignores by the checkout's own exclude file, so that the project's files stay as they were published. */
const IGNORED = ["/build-output/", "*.swp", ".env", "/private.key", "/postgres-data/"];

/** What lies about and comes along: untracked, not ignored. */
export const UNTRACKED = ["notes of mine.txt", "généré.h", "dangling-link", "link-to-the-host"];

/** What lies about and stays behind. */
export const LEFT = ["build-output/old.o", ".env", "private.key", "postgres-data", "editor.swp", "a-fifo"];

/**
 * Commits what is in the directory, and makes it messy: untracked and generated files, an ignored build's output, an
 * ignored file and directory that their own user cannot read (mode 000), links to nowhere and to the host, a FIFO, and a
 * change of a tracked file that was not committed.
 * @param dirty the tracked file that gets another line at its end
 */
export async function makeMessy(path: string, dirty: string): Promise<void> {
  const git = (...args: string[]) =>
    execute("git", ["-c", "user.name=t", "-c", "user.email=t@example.org", ...args], { cwd: path });
  await git("init", "-q", "-b", "trunk");
  // What the project itself ignores was published all the same.
  await git("add", "--force", ".");
  await git("commit", "-qm", "as it was published");
  await writeFile(join(path, ".git/info/exclude"), `${IGNORED.join("\n")}\n`);
  await mkdir(join(path, "build-output"));
  await writeFile(join(path, "build-output/old.o"), Buffer.alloc(3 << 20, "stale object code "));
  await writeFile(join(path, ".env"), "TOKEN=of-the-host\n");
  await writeFile(join(path, "editor.swp"), "b0VIM");
  await writeFile(join(path, "private.key"), "nobody reads this\n");
  await chmod(join(path, "private.key"), 0o000);
  await mkdir(join(path, "postgres-data"));
  await writeFile(join(path, "postgres-data/PG_VERSION"), "15\n");
  await chmod(join(path, "postgres-data"), 0o000);
  await writeFile(join(path, "notes of mine.txt"), "what I tried yesterday\n");
  await writeFile(join(path, "généré.h"), "/* generated */\n#define STAMP 1\n");
  await symlink("build-output/nowhere", join(path, "dangling-link"));
  await symlink("/etc/hostname", join(path, "link-to-the-host"));
  await execute("mkfifo", [join(path, "a-fifo")]);
  await appendFile(join(path, dirty), "\nA line that is not committed.\n");
}

/**
 * All of a checkout by path, Git's own files too: mode, owner, size, time of the last change of the contents, and their
 * hash. What this user cannot read has no hash, but the rest.
 */
export async function fingerprint(root: string): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {};
  const look = async (name: string): Promise<void> => {
    const path = join(root, name);
    const info = await lstat(path, { bigint: true });
    const contents = info.isFile()
      ? await readFile(path).catch(() => "unreadable")
      : info.isSymbolicLink()
        ? await readlink(path)
        : "";
    const hash = createHash("sha256").update(contents).digest("hex");
    found[name] = [info.mode.toString(8), info.uid, info.size, info.mtimeNs, hash].join(" ");
    if (!info.isDirectory()) return;
    for (const child of await readdir(path).catch(() => [])) await look(join(name, child));
  };
  await look(".");
  return found;
}

/** One hash of all that. */
export function treeHash(found: Readonly<Record<string, string>>): string {
  const lines = Object.entries(found).map(([name, what]) => `${name}\0${what}`);
  return createHash("sha256").update(lines.sort().join("\n")).digest("hex").slice(0, 16);
}
