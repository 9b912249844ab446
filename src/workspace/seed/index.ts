/**
 * What a workspace begins with: turns a directory, an archive, a Git checkout or a repository's URL into one tar.
 *
 * Invariants:
 * - the source is only read; of a checkout not even the index is refreshed;
 * - nothing outside of the source is read, whatever is swapped for a link meanwhile;
 * - no file is torn in silence: what changes while it is read is an error or a warning by name;
 * - no entry leaves this room whose name is absolute or holds "..";
 * - memory does not grow with the size of files, and what is listed ahead is paths only.
 */
export { describeProject, findProject, type ProjectDescription } from "./checkout.js";
export { decodeHeader } from "./archive-header.js";
export { checkedTar } from "./checked-tar.js";
export { openSeed, sweepSeeds } from "./open.js";
export { walk, type Found } from "./found.js";
export { HostTree } from "./host-tree.js";
export type { PackOptions } from "./packed.js";
export { SeedTally } from "./tally.js";
export { packEntries, TAR_END } from "./tree-stream.js";
export { sourceError } from "./errors.js";
export type { Seed, SeedOptions, SeedOrigin, SeedProgress, SeedSource } from "./source.js";
