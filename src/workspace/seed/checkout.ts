import { lstat, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { PyroError } from "../../protocol/index.js";
import { errnoOf } from "./errors.js";
import { git, gitError, gitList, gitText, type GitOptions } from "./git.js";
import { shown, textOf } from "./path.js";

/** A Git checkout on the host. */
export interface Checkout {
  /** Its top directory, absolute. */
  readonly root: string;
  /** Undefined where nothing was committed yet. */
  readonly headId: string | undefined;
  /** The branch that HEAD is on, without "refs/heads/"; undefined where it is on none. */
  readonly branch: string | undefined;
  readonly objectFormat: "sha1" | "sha256";
  /** Absolute paths of its object store and of its index, which may not be there. */
  readonly objects: string;
  readonly index: string;
}

/**
 * The checkout that a directory is in.
 * @throws {PyroError} PROJECT_NOT_FOUND, PROJECT_UNREADABLE, HOST_TOOL_NOT_FOUND
 */
export async function openCheckout(path: string, signal: AbortSignal): Promise<Checkout> {
  const from = await startingDirectory(path);
  const options: GitOptions = { cwd: from, signal };
  const asked = ["rev-parse", "--is-bare-repository", "--is-inside-work-tree", "--show-object-format"];
  const facts = await git(asked, options);
  if (facts.code !== 0) {
    if (/not a git repository/.test(facts.stderrTail)) throw notFound(from);
    throw gitError(from, asked, facts);
  }
  const [bare, inside, objectFormat] = facts.stdout.split("\n");
  if (inside !== "true") throw withoutWorkTree(from, bare === "true");
  const root = pathOf(await gitText(["rev-parse", "--show-toplevel"], options));
  const at: GitOptions = { cwd: root, signal };
  const gitPath = async (name: string): Promise<string> =>
    resolve(root, pathOf(await gitText(["rev-parse", "--git-path", name], at)));
  const [head, branch, objects, index] = await Promise.all([
    git(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], at),
    git(["symbolic-ref", "--quiet", "HEAD"], at),
    gitPath("objects"),
    gitPath("index"),
  ]);
  return {
    root,
    headId: head.code === 0 ? head.stdout.trim() : undefined,
    branch: branch.code === 0 ? pathOf(branch.stdout.trim()).replace(/^refs\/heads\//, "") : undefined,
    objectFormat: objectFormat === "sha256" ? "sha256" : "sha1",
    objects,
    index,
  };
}

/** A path that git printed: bytes, which the file system's calls take as UTF-8 text. */
function pathOf(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("utf8");
}

async function startingDirectory(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    return (await stat(absolute)).isDirectory() ? absolute : dirname(absolute);
  } catch (error) {
    throw new PyroError("PROJECT_NOT_FOUND", `there is no ${shown(textOf(absolute))} (${errnoOf(error)})`, {
      hint: "name a Git checkout: `--project-path DIR`",
      details: { path: absolute },
      cause: error,
    });
  }
}

function notFound(path: string): PyroError {
  return new PyroError("PROJECT_NOT_FOUND", `${shown(textOf(path))} is in no Git checkout`, {
    hint: `name one: \`--project-path DIR\`; or seed the plain directory: \`--seed-path ${path}\``,
    details: { path },
  });
}

function withoutWorkTree(path: string, bare: boolean): PyroError {
  const what = bare ? "a bare repository, without files to work on" : "inside a repository's .git directory";
  return new PyroError("PROJECT_UNREADABLE", `${shown(textOf(path))} is ${what}`, {
    hint: bare
      ? `clone it: \`git clone ${path} DIR\`, then \`--project-path DIR\`; or \`--repo-url ${path}\``
      : "name the checkout's own directory: `--project-path DIR`",
    details: { path },
  });
}

/**
 * The checkout around a directory, or undefined where there is none. Starts git only where a ".git" was seen.
 * @throws {PyroError} PROJECT_UNREADABLE where there is one that git refuses; HOST_TOOL_NOT_FOUND
 */
export async function findProject(
  directory: string,
  signal: AbortSignal = new AbortController().signal,
): Promise<string | undefined> {
  for (let at = resolve(directory); ; at = dirname(at)) {
    const found = await lstat(join(at, ".git")).then(
      () => true,
      () => false,
    );
    if (found) {
      try {
        return (await openCheckout(at, signal)).root;
      } catch (error) {
        // An empty directory of that name makes no checkout.
        if (error instanceof PyroError && error.code === "PROJECT_NOT_FOUND") return undefined;
        throw error;
      }
    }
    if (at === dirname(at)) return undefined;
  }
}

/** What a project is like, for messages. */
export interface ProjectDescription {
  readonly root: string;
  readonly head: { readonly id: string | null; readonly branch: string | null };
  readonly trackedCount: number;
  readonly untrackedCount: number;
  /** Tracked files that differ from HEAD, the work tree's and the staged changes together. */
  readonly dirty: {
    readonly modified: number;
    readonly added: number;
    readonly deleted: number;
    readonly conflicted: number;
  };
}

/**
 * Describes the checkout that a directory is in. `git status` compares by content where times differ, and so runs the
 * filters that the user has set up for it.
 * @throws {PyroError} PROJECT_NOT_FOUND, PROJECT_UNREADABLE, HOST_TOOL_NOT_FOUND
 */
export async function describeProject(
  path: string,
  signal: AbortSignal = new AbortController().signal,
): Promise<ProjectDescription> {
  const checkout = await openCheckout(path, signal);
  const at: GitOptions = { cwd: checkout.root, signal };
  const status = ["status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignore-submodules=dirty"];
  const [tracked, changes] = await Promise.all([
    gitList(["ls-files", "-z", "--cached", "--deduplicate"], at),
    gitList([...status, "--no-renames"], at),
  ]);
  const marks = changes.map((line) => line.slice(0, 2));
  const count = (test: RegExp): number => marks.filter((mark) => test.test(mark)).length;
  return {
    root: checkout.root,
    head: { id: checkout.headId ?? null, branch: checkout.branch ?? null },
    trackedCount: tracked.length,
    untrackedCount: count(/^\?\?$/),
    dirty: {
      modified: count(/^(M[ MT]| [MT]|T[ MT])$/),
      added: count(/^A[ MT]$/),
      deleted: count(/^(D | D|MD|AD|TD)$/),
      conflicted: count(/^(DD|AU|UD|UA|DU|AA|UU)$/),
    },
  };
}
