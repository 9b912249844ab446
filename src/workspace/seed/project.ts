import { join } from "node:path";
import { openCheckout, type Checkout } from "./checkout.js";
import { findListed, listCheckout, type CheckoutFiles } from "./checkout-files.js";
import { seedChanged } from "./errors.js";
import { walk, type Found } from "./found.js";
import { HostTree } from "./host-tree.js";
import { makeOneCommit } from "./one-commit.js";
import { joined, textOf } from "./path.js";
import type { SeedTally } from "./tally.js";
import { packEntries } from "./tree-stream.js";

/** A checkout, listed, and the repository that stands for its own. */
export interface Project {
  readonly checkout: Checkout;
  readonly files: CheckoutFiles;
  /** The directory that becomes ".git". */
  readonly repository: string;
}

/** @throws {PyroError} PROJECT_NOT_FOUND, PROJECT_UNREADABLE, SEED_NOT_FOUND, HOST_TOOL_NOT_FOUND */
export async function openProject(
  path: string,
  include: readonly string[],
  scratch: string,
  tally: SeedTally,
  signal: AbortSignal,
): Promise<Project> {
  const checkout = await openCheckout(path, signal);
  const repository = join(scratch, "dot-git");
  // Both are waited for whatever becomes of the other: their processes use the scratch directory.
  const [files, made] = await Promise.allSettled([
    listCheckout(checkout.root, include, tally, signal),
    makeOneCommit(checkout, repository, tally, signal),
  ]);
  if (files.status === "rejected") throw files.reason;
  if (made.status === "rejected") throw made.reason;
  return { checkout, files: files.value, repository };
}

/** The work tree's files, then the repository. */
export async function* streamProject(
  { checkout, files, repository }: Project,
  tally: SeedTally,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, void> {
  await using tree = await HostTree.open(checkout.root);
  await using made = await HostTree.open(repository);
  yield* packEntries(findListed(tree, files, tally), tally, signal);
  yield* packEntries(below(made, ".git", tally), tally, signal);
  const now = await openCheckout(checkout.root, signal);
  if (now.headId !== checkout.headId) throw seedChanged(textOf(checkout.root), "got another HEAD");
}

/** A whole tree under another name. */
async function* below(tree: HostTree, name: string, tally: SeedTally): AsyncGenerator<Found, void, void> {
  yield { kind: "directory", path: name, directory: await tree.directory("") };
  for await (const found of walk(tree, "", tally)) yield { ...found, path: joined(name, found.path) };
}
