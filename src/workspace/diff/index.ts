/**
 * What changed in a workspace since its baseline: a record and a git-style patch for each path, and which paths would
 * run on the host if they were exported.
 *
 * - Nothing here reads by itself: the guest's list of changes and both contents come through `ChangedPath` and
 *   `DiffContents`.
 * - The patch is made file by file, in byte order of the paths, and is a function of its input alone: paging by offset is stable.
 * - `git apply` and our own patch room take it. What text cannot carry (binary content, links, types, permission bits
 *   beyond the executable one) is one line that begins with "# ".
 */
export type { ChangedPath, DiffContents, EntryState } from "./changed.js";
export { diffFiles, summarize, type DiffSummary } from "./diff.js";
export type { DiffEntry, FileDiff } from "./file-diff.js";
export { hostExecutablePaths, type ExportedPath, type HostExecutablePath } from "./host-executable.js";
