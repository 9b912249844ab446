/**
 * Applies strict unified diffs, as git, GNU diff and models write them, to a tree that somebody else holds.
 *
 * - Nothing here reads or writes by itself: the tree is seen through `WorkspaceTree`, and what comes out is a list of
 *   steps for one all-or-nothing commit, each guarded by the hash of what it replaces.
 * - Only where a hunk lies may differ from what its header says; its lines must be in the file as they are. Forgiven
 *   are: counts, blank context lines without their space, carriage returns (the file's line endings win), and a
 *   missing word about the final newline (the file's ending stays).
 * - Names and contents are bytes throughout; every search and every message is bounded.
 */
export { applyPatch, type PatchPlan } from "./apply.js";
export type { FileLine, Failure } from "./failure.js";
export type { PatchEntry } from "./overlay.js";
export type { TreeChange, TreeEntry, WorkspaceTree } from "./tree.js";
