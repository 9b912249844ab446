import { lstat } from "node:fs/promises";
import { PyroError } from "../../protocol/index.js";
import { errnoOf, sourceError } from "./errors.js";
import { walk, type Found } from "./found.js";
import { git, gitError, gitList, type GitOptions } from "./git.js";
import { HostTree, type HostDirectory } from "./host-tree.js";
import { joined, nameOf, parentOf, shown, textOf } from "./path.js";
import type { SeedTally } from "./tally.js";

/** What goes into the seed of a checkout. Paths from the checkout's top, in byte order. */
export interface CheckoutFiles {
  /** Files and links: tracked ones that are there, and unignored ones. */
  readonly paths: readonly string[];
  /** Directories of submodules that were not fetched: they are empty. */
  readonly emptyDirectories: readonly string[];
  /** Taken whole. */
  readonly included: readonly string[];
}

/** Repositories within repositories; deeper ones are left out with a warning. */
const NESTED_DEPTH = 20;

/**
 * Lists a checkout as git sees it, with what is in its submodules and in repositories that lie in it.
 * @throws {PyroError} PROJECT_UNREADABLE, SEED_NOT_FOUND for an included path that is not there
 */
export async function listCheckout(
  root: string,
  include: readonly string[],
  tally: SeedTally,
  signal: AbortSignal,
): Promise<CheckoutFiles> {
  const paths = new Set<string>();
  const emptyDirectories: string[] = [];
  const add = async (prefix: string, depth: number): Promise<void> => {
    const listed = await listRepository(joinedRoot(root, prefix), signal);
    for (const path of listed.files) paths.add(joined(prefix, path));
    for (const path of listed.repositories) {
      const nested = joined(prefix, path);
      if (depth >= NESTED_DEPTH) tally.warn(`left out ${shown(nested)}: repositories are nested too deep`);
      else if (await isRepository(joinedRoot(root, nested), signal)) await add(nested, depth + 1);
      else emptyDirectories.push(nested);
    }
  };
  await add("", 0);
  const included = include.map((each) => includedPath(root, each));
  await requireIncluded(root, included);
  return { paths: [...paths].sort(), emptyDirectories, included };
}

interface Listing {
  readonly files: readonly string[];
  /** Directories that are repositories of their own: submodules, fetched or not, and others. */
  readonly repositories: readonly string[];
}

async function listRepository(root: Buffer, signal: AbortSignal): Promise<Listing> {
  // Node takes working directories as text only: git itself goes where the bytes say.
  const at: GitOptions = { cwd: "/", signal };
  const there = ["-C", root.toString("utf8")];
  if (!Buffer.from(there[1] ?? "", "utf8").equals(root)) {
    throw new PyroError("PROJECT_UNREADABLE", `the path of ${shown(root.toString("latin1"))} is not UTF-8`, {
      hint: "seed the plain directory: `--seed-path DIR`",
    });
  }
  const [staged, others, deleted] = await Promise.all([
    gitList([...there, "ls-files", "-z", "-t", "--stage", "--full-name"], at),
    gitList([...there, "ls-files", "-z", "--others", "--exclude-standard", "--full-name"], at),
    gitList([...there, "ls-files", "-z", "--deleted", "--full-name"], at),
  ]);
  const gone = new Set(deleted);
  const files: string[] = [];
  const repositories: string[] = [];
  for (const line of staged) {
    const path = line.slice(line.indexOf("\t") + 1);
    // "S": a sparse checkout leaves it out of the work tree.
    if (gone.has(path) || line.startsWith("S ")) continue;
    if (line.startsWith("160000 ", 2)) repositories.push(path);
    else files.push(path);
  }
  for (const path of others) {
    if (path.endsWith("/")) repositories.push(path.slice(0, -1));
    else files.push(path);
  }
  return { files, repositories };
}

/** Whether a directory is the top of a repository, and not just inside of one. */
async function isRepository(directory: Buffer, signal: AbortSignal): Promise<boolean> {
  const path = directory.toString("utf8");
  const asked = ["-C", path, "rev-parse", "--show-prefix"];
  const prefix = await git(asked, { cwd: "/", signal });
  if (prefix.code !== 0) throw gitError(path, ["rev-parse"], prefix);
  return prefix.stdout.trim() === "";
}

function joinedRoot(root: string, path: string): Buffer {
  return Buffer.from(joined(textOf(root), path), "latin1");
}

/** @throws {PyroError} SEED_NOT_FOUND for a path that leads out of the checkout */
function includedPath(root: string, include: string): string {
  const prefix = textOf(`${root}/`);
  const text = textOf(include);
  const relative = text.startsWith(prefix) ? text.slice(prefix.length) : text;
  const parts = relative.split("/").filter((part) => part !== "" && part !== ".");
  if (relative.startsWith("/") || parts.includes("..") || parts.length === 0 || parts[0] === ".git") {
    throw new PyroError(
      "SEED_NOT_FOUND",
      `${shown(text)} is no path inside the checkout ${shown(textOf(root))}`,
      {
        hint: "name it relative to the checkout's top, for example `--seed-include node_modules`",
        details: { path: include },
      },
    );
  }
  return parts.join("/");
}

/** What was listed, opened one by one; each directory comes before what is in it. */
export async function* findListed(
  tree: HostTree,
  files: CheckoutFiles,
  tally: SeedTally,
): AsyncGenerator<Found, void, void> {
  const opener = new Opener(tree);
  const included = files.included;
  const isIncluded = (path: string): boolean =>
    included.some((top) => path === top || path.startsWith(`${top}/`));
  for (const path of files.paths) {
    // What is taken whole is walked below.
    if (isIncluded(path)) continue;
    const directory = yield* opener.open(parentOf(path));
    if (directory !== undefined) yield { kind: "either", path, directory, name: nameOf(path) };
  }
  for (const path of files.emptyDirectories) {
    const directory = isIncluded(path) ? undefined : yield* opener.open(path);
    await directory?.release();
  }
  for (const path of included) {
    if (included.some((top) => path !== top && path.startsWith(`${top}/`))) continue;
    const parent = yield* opener.open(parentOf(path));
    if (parent === undefined) throw missing(path);
    yield* findIncluded(tree, path, parent, tally);
  }
}

async function* findIncluded(
  tree: HostTree,
  path: string,
  parent: HostDirectory,
  tally: SeedTally,
): AsyncGenerator<Found, void, void> {
  const directory = await tree.directory(path).catch(() => undefined);
  if (directory === undefined) {
    yield { kind: "either", path, directory: parent, name: nameOf(path) };
    return;
  }
  await Promise.all([directory.release(), parent.release()]);
  yield* walk(tree, path, tally);
}

/** @throws {PyroError} SEED_NOT_FOUND */
async function requireIncluded(root: string, included: readonly string[]): Promise<void> {
  await using tree = await HostTree.open(root);
  for (const path of included) {
    try {
      const parent = await tree.directory(parentOf(path));
      await lstat(parent.child(nameOf(path))).finally(() => parent.release());
    } catch (error) {
      if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoOf(error))) throw missing(path);
      throw sourceError(path, error);
    }
  }
}

function missing(path: string): PyroError {
  return new PyroError("SEED_NOT_FOUND", `there is no ${shown(path)} in the checkout to include`, {
    hint: "leave `--seed-include` out, or make what it names first",
    details: { path: Buffer.from(path, "latin1").toString("utf8") },
  });
}

/** Opens directories, and says each once. */
class Opener {
  readonly #tree: HostTree;
  readonly #said = new Set<string>([""]);

  constructor(tree: HostTree) {
    this.#tree = tree;
  }

  /** The directory, held; undefined where the way to it leads over a link or a file: git sees nothing there either. */
  async *open(path: string): AsyncGenerator<Found, HostDirectory | undefined, void> {
    for (const each of unsaid(path, this.#said)) {
      const directory = await this.#directory(each);
      if (directory === undefined) return undefined;
      this.#said.add(each);
      yield { kind: "directory", path: each, directory };
    }
    return this.#directory(path);
  }

  async #directory(path: string): Promise<HostDirectory | undefined> {
    try {
      return await this.#tree.directory(path);
    } catch (error) {
      if (errnoOf(error) === "ENOTDIR" || errnoOf(error) === "ELOOP") return undefined;
      throw sourceError(path, error);
    }
  }
}

/** The path and the directories above it that were not said yet, from the top down. */
function unsaid(path: string, said: ReadonlySet<string>): string[] {
  const list: string[] = [];
  for (let at = path; !said.has(at); at = parentOf(at)) list.unshift(at);
  return list;
}
