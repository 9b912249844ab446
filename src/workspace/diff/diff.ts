import type { ChangedPath, DiffContents } from "./changed.js";
import { fileDiff, type DiffEntry, type FileDiff } from "./file-diff.js";
import { planChanges } from "./renames.js";

/** Section 6 of the contract. */
export interface DiffSummary {
  readonly added: number;
  readonly modified: number;
  readonly deleted: number;
  readonly renamed: number;
  /** Of those: how many hold binary content that changed. */
  readonly binary: number;
  readonly insertions: number;
  readonly deletions: number;
}

/** Files that are read while an earlier one is still compared or waited for. */
const AHEAD = 8;

/**
 * The diff, file by file in byte order of the paths; the patch is what the parts are together, and the same changes
 * and contents give the same bytes each time. Only a few files are held at once; stop reading, and no more are read.
 */
export async function* diffFiles(
  changes: readonly ChangedPath[],
  contents: DiffContents,
): AsyncGenerator<FileDiff> {
  const waiting: Promise<FileDiff>[] = [];
  for (const change of planChanges(changes)) {
    const next = fileDiff(change, contents);
    // Whoever stops early never asks for it; its failure is nobody's then.
    next.catch(() => undefined);
    waiting.push(next);
    if (waiting.length >= AHEAD) yield* take(waiting);
  }
  while (waiting.length > 0) yield* take(waiting);
}

async function* take(waiting: Promise<FileDiff>[]): AsyncGenerator<FileDiff> {
  const first = waiting.shift();
  if (first !== undefined) yield await first;
}

export function summarize(entries: Iterable<DiffEntry>): DiffSummary {
  const sum = { added: 0, modified: 0, deleted: 0, renamed: 0, binary: 0, insertions: 0, deletions: 0 };
  for (const entry of entries) {
    sum[entry.change]++;
    if (entry.binary) sum.binary++;
    sum.insertions += entry.insertions;
    sum.deletions += entry.deletions;
  }
  return sum;
}
