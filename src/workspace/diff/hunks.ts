import { structuredPatch } from "diff";
import type { ByteString } from "../../kit/index.js";
import { LIMITS } from "../../protocol/index.js";

/** Hunks of one text file, and how many lines they add and remove. */
export interface TextHunks {
  /** From the first `@@` line on; empty when the texts are equal. */
  readonly text: ByteString;
  readonly insertions: number;
  readonly deletions: number;
}

interface HunkParts {
  readonly oldStart: number;
  readonly oldLines: number;
  readonly newStart: number;
  readonly newLines: number;
  readonly lines: readonly ByteString[];
}

const CONTEXT_LINES = 3;
const NO_NEWLINE = "\\ No newline at end of file";

/**
 * The shortest edit script of lines (Myers, by jsdiff). Beyond LIMITS.diffEdits inserted and deleted lines it is no
 * longer looked for: its cost grows with their square, and nobody reads it; then everything between the first and the
 * last difference is one replacement. Both are a function of the texts alone, never of time.
 */
export function textHunks(before: ByteString, after: ByteString): TextHunks {
  const oneSided = before === "" || after === "";
  const found = oneSided
    ? undefined
    : structuredPatch("", "", before, after, undefined, undefined, {
        context: CONTEXT_LINES,
        maxEditLength: LIMITS.diffEdits,
      });
  const hunks: readonly HunkParts[] = found?.hunks ?? replacement(before, after);
  let [insertions, deletions] = [0, 0];
  const out: ByteString[] = [];
  for (const hunk of hunks) {
    out.push(`@@ -${range(hunk.oldStart, hunk.oldLines)} +${range(hunk.newStart, hunk.newLines)} @@`);
    for (const line of hunk.lines) {
      if (line.startsWith("+")) insertions++;
      if (line.startsWith("-")) deletions++;
      out.push(line);
    }
  }
  return { text: out.map((line) => `${line}\n`).join(""), insertions, deletions };
}

/** An empty range is named by the line before it (POSIX diff -u). */
function range(start: number, lines: number): string {
  if (lines === 1) return String(start);
  return `${lines === 0 ? start - 1 : start},${lines}`;
}

function replacement(before: ByteString, after: ByteString): HunkParts[] {
  if (before === after) return [];
  const [old, now] = [linesOf(before), linesOf(after)];
  const shorter = Math.min(old.length, now.length);
  let same = 0;
  while (same < shorter && old[same] === now[same]) same++;
  let tail = 0;
  while (tail < shorter - same && old.at(-1 - tail) === now.at(-1 - tail)) tail++;
  const start = Math.max(0, same - CONTEXT_LINES);
  const behind = Math.min(tail, CONTEXT_LINES);
  const [oldEnd, newEnd] = [old.length - tail, now.length - tail];
  const lines = [
    ...marked(" ", old.slice(start, same)),
    ...marked("-", old.slice(same, oldEnd)),
    ...marked("+", now.slice(same, newEnd)),
    ...marked(" ", old.slice(oldEnd, oldEnd + behind)),
  ];
  const [oldLines, newLines] = [oldEnd + behind - start, newEnd + behind - start];
  return [{ oldStart: start + 1, oldLines, newStart: start + 1, newLines, lines }];
}

/** Lines with their newlines. */
function linesOf(text: ByteString): ByteString[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function marked(kind: " " | "-" | "+", lines: readonly ByteString[]): ByteString[] {
  return lines.flatMap((line) =>
    line.endsWith("\n") ? [kind + line.slice(0, -1)] : [kind + line, NO_NEWLINE],
  );
}
