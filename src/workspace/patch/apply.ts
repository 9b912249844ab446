import { looksBinary, textOf, type ByteString } from "../../kit/index.js";
import { FileEdit } from "./edit.js";
import { doesNotApply, FAILURES_SHOWN, hunkFailure, type Failure } from "./failure.js";
import { splitLines } from "./lines.js";
import { Overlay, Refused, type PatchEntry, type PlannedFile } from "./overlay.js";
import { parsePatch, type FilePatch } from "./parse.js";
import { ScanBudget } from "./search.js";
import type { TreeChange, WorkspaceTree } from "./tree.js";

/** What a patch would do: the steps for the guest, and the record for the caller. */
export interface PatchPlan {
  /** In the order in which they are to be made, all or none. */
  readonly changes: readonly TreeChange[];
  /** Section 6 of the contract; `changed` is false when the patch changes nothing in the end. */
  readonly result: { readonly changed: boolean; readonly entries: readonly PatchEntry[] };
}

/**
 * Tries a patch against the tree, in memory: nothing is changed. A path may be patched several times, one after
 * the other.
 * @throws {PyroError} PATCH_INVALID, PATCH_DOES_NOT_APPLY (all hunks and files that do not apply, at once)
 */
export async function applyPatch(patch: string | Uint8Array, tree: WorkspaceTree): Promise<PatchPlan> {
  const files = parsePatch(patch);
  const overlay = new Overlay(tree);
  const budget = new ScanBudget();
  const failures: Failure[] = [];
  const failed = new Set<ByteString>();
  for (const file of files) {
    const names = [file.oldPath, file.newPath].filter((name) => name !== undefined);
    // What follows a failure on the same file would only fail because of it.
    if (names.some((name) => failed.has(name))) continue;
    const found = await tryFile(file, overlay, budget);
    failures.push(...found);
    // Enough to work on; searching on would only cost time.
    if (failures.length > FAILURES_SHOWN) break;
    if (found.length > 0) for (const name of names) failed.add(name);
  }
  if (failures.length > 0) throw doesNotApply(failures);
  const { changes, entries } = await overlay.plan();
  return { changes, result: { changed: entries.length > 0, entries } };
}

async function tryFile(file: FilePatch, overlay: Overlay, budget: ScanBudget): Promise<Failure[]> {
  const { oldPath, newPath } = file;
  let path = oldPath ?? newPath ?? "";
  const fail = (reason: string, already = false): Failure[] => [
    { path: textOf(path), patch_line: file.line, reason, applied_already: already },
  ];
  try {
    if (oldPath === undefined) return await addFile(file, path, overlay);
    const before = await overlay.file(oldPath);
    if (before === undefined) return await missing(file, oldPath, overlay, fail);
    if (newPath !== undefined && newPath !== oldPath) {
      path = newPath;
      if ((await overlay.file(newPath)) !== undefined) return fail(`${textOf(newPath)} exists already`);
      path = oldPath;
    }
    const mode = file.newMode === undefined ? before.mode : withExecutable(before.mode, file.newMode);
    if (file.hunks.length === 0 && newPath !== undefined) {
      overlay.set(oldPath, undefined);
      overlay.set(newPath, { ...before, mode });
      return [];
    }
    const edited = await editFile(file, oldPath, before, overlay, budget);
    if (Array.isArray(edited)) return edited;
    if (newPath === undefined && edited !== "")
      return fail("the patch does not remove all lines of the file");
    overlay.set(oldPath, undefined);
    if (newPath !== undefined) overlay.set(newPath, { ...before, content: edited, mode });
    return [];
  } catch (error) {
    if (error instanceof Refused) return fail(error.message);
    throw error;
  }
}

/** Failures of a file that is to be changed, renamed or deleted, and is not there. */
async function missing(
  file: FilePatch,
  oldPath: ByteString,
  overlay: Overlay,
  fail: (reason: string, already?: boolean) => Failure[],
): Promise<Failure[]> {
  const { newPath } = file;
  const renamed = newPath !== undefined && newPath !== oldPath && (await overlay.holds(newPath));
  // GNU diff -N writes a new file with its name on both sides.
  const [hunk] = file.hunks;
  if (newPath === oldPath && file.hunks.length === 1 && hunk?.insertsAt === true && hunk.oldStart === 0) {
    overlay.set(oldPath, newFile(file));
    return [];
  }
  // A prefix other than a/ and b/, or /workspace written as a part of the name.
  const inner = oldPath.slice(oldPath.indexOf("/") + 1);
  const meant = inner !== oldPath && (await overlay.holds(inner)) ? `; ${textOf(inner)} does` : "";
  return fail(`does not exist${meant}`, newPath === undefined || renamed);
}

async function addFile(file: FilePatch, path: ByteString, overlay: Overlay): Promise<Failure[]> {
  const planned = newFile(file);
  const there = await overlay.file(path);
  if (there === undefined) {
    overlay.set(path, planned);
    return [];
  }
  const same = (await overlay.content(there)) === planned.content;
  return [
    {
      path: textOf(path),
      patch_line: file.line,
      reason: same ? "exists already, with this content" : "exists already, with other content",
      applied_already: same,
    },
  ];
}

/** All added lines, as the patch has them. */
function newFile(file: FilePatch): PlannedFile {
  const lines = file.hunks.flatMap((hunk) => hunk.lines);
  const content = lines.map((line) => `${line.text}${line.noNewline ? "" : "\n"}`).join("");
  return { mode: withExecutable(0o644, file.newMode ?? 0o644), content, origin: undefined };
}

async function editFile(
  file: FilePatch,
  path: ByteString,
  before: PlannedFile,
  overlay: Overlay,
  budget: ScanBudget,
): Promise<ByteString | Failure[]> {
  const content = await overlay.content(before);
  if (looksBinary(content)) throw new Refused("is a binary file; a patch changes text only");
  const lines = splitLines(content);
  const edit = new FileEdit(lines, budget);
  const failures: Failure[] = [];
  for (const hunk of file.hunks) {
    const misplaced = edit.place(hunk);
    if (failures.length > FAILURES_SHOWN) break;
    if (misplaced !== undefined)
      failures.push(hunkFailure(path, lines, misplaced, budget, (line) => overlay.show(line)));
  }
  return failures.length > 0 ? failures : edit.result();
}

/** Git knows one mode bit, executable or not; who may read the file stays as it is. */
function withExecutable(mode: number, wanted: number): number {
  return (wanted & 0o111) === 0 ? mode & ~0o111 : mode | ((mode & 0o444) >> 2);
}
