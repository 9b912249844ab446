import { copyFile, mkdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PyroError } from "../../protocol/index.js";
import type { Checkout } from "./checkout.js";
import { git, gitError, gitText, type GitOptions } from "./git.js";
import { shown, textOf } from "./path.js";
import type { SeedTally } from "./tally.js";

/**
 * Makes the ".git" of a seed: one commit, whose tree is HEAD's. No remotes, hooks, reflogs, credentials and nothing of
 * the user's configuration; the checkout is only read.
 * @param directory that is to become the ".git"; does not exist yet
 * @throws {PyroError} PROJECT_UNREADABLE
 */
export async function makeOneCommit(
  checkout: Checkout,
  directory: string,
  tally: SeedTally,
  signal: AbortSignal,
): Promise<void> {
  for (const each of ["objects/info", "objects/pack", "refs/heads", "refs/tags"]) {
    await mkdir(join(directory, each), { recursive: true });
  }
  await writeFile(join(directory, "config"), configOf(checkout));
  await writeFile(join(directory, "HEAD"), `ref: refs/heads/${checkout.branch ?? "main"}\n`);
  if (checkout.headId === undefined) return;
  const repository = inRepository(checkout, directory, signal);
  const commit = await makeCommit(checkout, checkout.headId, repository);
  await packObjects(checkout, commit, tally, repository);
  if (checkout.branch === undefined) await writeFile(join(directory, "HEAD"), `${commit}\n`);
  else {
    const update = ["-c", "core.logAllRefUpdates=false", "update-ref", `refs/heads/${checkout.branch}`];
    await gitText([...update, commit], repository);
  }
  await makeIndex(checkout, commit, directory, repository);
}

/** The least that git wants. */
function configOf({ objectFormat }: Checkout): string {
  const isNew = objectFormat === "sha256";
  return [
    "[core]",
    `\trepositoryformatversion = ${isNew ? 1 : 0}`,
    "\tfilemode = true",
    "\tbare = false",
    "\tlogallrefupdates = true",
    // The index knows times and sizes of the files, not the inodes they have in the machine: without this the first
    // status there reads every file.
    "\tcheckStat = minimal",
    ...(isNew ? ["[extensions]", "\tobjectFormat = sha256"] : []),
    "",
  ].join("\n");
}

function inRepository(checkout: Checkout, directory: string, signal: AbortSignal): GitOptions {
  return {
    cwd: checkout.root,
    signal,
    env: {
      GIT_DIR: directory,
      GIT_WORK_TREE: checkout.root,
      GIT_ALTERNATE_OBJECT_DIRECTORIES: quoted(checkout.objects),
      // Nothing of the user's configuration goes into what is made.
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_AUTHOR_NAME: "pyro",
      GIT_AUTHOR_EMAIL: "pyro@localhost",
      GIT_COMMITTER_NAME: "pyro",
      GIT_COMMITTER_EMAIL: "pyro@localhost",
    },
  };
}

/** As git wants a path in a list of paths that ":" separates. */
function quoted(path: string): string {
  return `"${path.replace(/["\\]/g, "\\$&")}"`;
}

async function makeCommit(checkout: Checkout, headId: string, repository: GitOptions): Promise<string> {
  // The commit's own time, so that the same state gives the same commit.
  const [time, tree] = await Promise.all([
    gitText(["log", "-1", "--no-walk", "--no-show-signature", "--format=%ct", headId], repository),
    gitText(["rev-parse", "--verify", `${headId}^{tree}`], repository),
  ]);
  const where = checkout.branch === undefined ? "a detached HEAD" : `branch ${checkout.branch}`;
  const message = `Seed: commit ${headId}\n\nThe tree of ${where} as it was committed; its history stayed on the host.\n`;
  const date = `${time} +0000`;
  return gitText(["commit-tree", tree], {
    ...repository,
    stdin: textOf(message),
    env: { ...repository.env, GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date },
  });
}

async function packObjects(
  checkout: Checkout,
  commit: string,
  tally: SeedTally,
  repository: GitOptions,
): Promise<void> {
  const base = join(repository.env?.["GIT_DIR"] ?? "", "objects", "pack", "pack");
  // What is packed already is copied as it is; looking for deltas anew would take longer than sending more.
  const args = ["pack-objects", "-q", "--revs", "--window=0", "--delta-base-offset", "--compression=1", base];
  const result = await git(args, { ...repository, stdin: `${commit}\n` });
  if (result.code === 0) return;
  const options: GitOptions = { cwd: checkout.root, signal: repository.signal };
  if ((await git(["config", "--get-regexp", "^remote\\..*\\.promisor$"], options)).code === 0) {
    const rest = await git(["pack-objects", "--missing=allow-any", ...args.slice(1)], {
      ...repository,
      stdin: `${commit}\n`,
    });
    if (rest.code === 0) {
      tally.warn(
        "the checkout is a partial clone: what it has not fetched of its HEAD is missing in the seed's .git",
      );
      return;
    }
  }
  if (/unable to read|missing|bad object|could not read/i.test(result.stderrTail)) {
    const at = shown(textOf(checkout.root));
    throw new PyroError("PROJECT_UNREADABLE", `the checkout ${at} lacks objects of its own HEAD`, {
      hint: `it is a partial clone, or damaged: \`git -C ${checkout.root} fetch --refetch\`; or seed the plain directory: \`--seed-path ${checkout.root}\``,
      details: { path: checkout.root, git: result.stderrTail.trim().slice(-500) },
    });
  }
  throw gitError(checkout.root, args, result);
}

/**
 * The index of HEAD's tree. What the checkout's own index knows of files that are as they were committed is taken
 * over, so that nobody has to read them again, here or in the machine.
 */
async function makeIndex(
  checkout: Checkout,
  commit: string,
  directory: string,
  repository: GitOptions,
): Promise<void> {
  const index = join(directory, "index");
  try {
    const { atimeMs, mtimeMs } = await stat(checkout.index);
    await copyFile(checkout.index, index);
    // Git tells by the index's time which files may have changed right after they were recorded; rounding down is safe.
    await utimes(index, atimeMs / 1000, Math.floor(mtimeMs / 1000));
    const merged = await git(["read-tree", "-m", commit], repository);
    if (merged.code === 0) return;
  } catch (error) {
    repository.signal.throwIfAborted();
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  // There is none, or it is split or in conflict.
  await rm(index, { force: true });
  await rm(`${index}.lock`, { force: true });
  await gitText(["read-tree", commit], repository);
}
