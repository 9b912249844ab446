import { LIMITS } from "../../protocol/index.js";
import type { ByteString } from "../../kit/index.js";
import { invalidPatch } from "./invalid.js";
import type { PatchText } from "./patch-text.js";

/** One line of a hunk: context, removed or added. */
export interface HunkLine {
  readonly kind: " " | "-" | "+";
  /** Without its newline; a carriage return before it is part of the text. */
  readonly text: ByteString;
  /** "\ No newline at end of file" follows it. */
  readonly noNewline: boolean;
}

export interface Hunk {
  /** Counted from 1 within its file. */
  readonly number: number;
  /** Its line in the patch, from 1. */
  readonly line: number;
  /** First line of the old side, from 1, or after which it inserts; undefined: the header does not say. */
  readonly oldStart: number | undefined;
  /** The header says that the old side has no lines, and it has none. */
  readonly insertsAt: boolean;
  readonly lines: readonly HunkLine[];
}

interface Header {
  readonly oldStart: number;
  readonly oldCount: number;
  readonly newCount: number;
}

interface Body {
  readonly lines: readonly HunkLine[];
  /** First line of the patch text behind the body. */
  readonly end: number;
}

const HEADER = /^@@ +-(\d+)(?:,(\d+))? +\+(\d+)(?:,(\d+))?\s*(?:@@.*)?$/s;

/**
 * Reads the hunk whose header stands at `start`. Counts of the header are taken when they fit; models miscount, and
 * then the lines themselves say how long the hunk is: all up to the next header. An empty line is a context line whose
 * space was trimmed, except at the very end of a hunk that does not count it.
 * @throws {PyroError} PATCH_INVALID
 */
export function readHunk(text: PatchText, start: number, number: number): { hunk: Hunk; end: number } {
  const headerLine = text.lines[start] ?? "";
  const header = readHeader(headerLine, start);
  const body =
    (header === undefined ? undefined : countedBody(text, start + 1, header)) ??
    recount(text, start + 1, header);
  if (body.lines.every((line) => line.kind === " ")) {
    throw invalidPatch(
      start + 1,
      headerLine,
      "the hunk changes nothing",
      "leave it out, or begin changed lines with - and +",
    );
  }
  const inserts = body.lines.every((line) => line.kind === "+");
  const hunk: Hunk = {
    number,
    line: start + 1,
    oldStart: header?.oldStart,
    insertsAt: inserts && header?.oldCount === 0,
    lines: body.lines,
  };
  return { hunk, end: body.end };
}

/** Undefined: a bare `@@`, with or without words; the place is found by the context alone. */
function readHeader(line: ByteString, at: number): Header | undefined {
  if (line.startsWith("@@@")) {
    throw invalidPatch(
      at + 1,
      line,
      "combined diffs of merges are refused",
      "make the diff against one parent",
    );
  }
  const match = HEADER.exec(line);
  if (match === null) {
    if (!/^@@ *[-+]?\d/.test(line)) return undefined;
    throw invalidPatch(at + 1, line, "a hunk's header is not well formed", "write it as @@ -12,4 +12,5 @@");
  }
  const [oldStart = 0, oldCount = 1, newStart = 0, newCount = 1] = match
    .slice(1, 5)
    .map((digits: string | undefined) => (digits === undefined ? undefined : Number(digits)));
  if (Math.max(oldStart, oldCount, newStart, newCount) > LIMITS.patchLineNumber) {
    throw invalidPatch(
      at + 1,
      line,
      "a hunk's header has a number that is too large",
      "count the lines of the file",
    );
  }
  return { oldStart, oldCount, newCount };
}

/** The body when the header's counts are right: they are used up exactly where a hunk may end. */
function countedBody(text: PatchText, start: number, header: Header): Body | undefined {
  const lines: HunkLine[] = [];
  let [oldLeft, newLeft, at] = [header.oldCount, header.newCount, start];
  while (oldLeft > 0 || newLeft > 0) {
    const line = readLine(text, at);
    if (line === undefined) return undefined;
    if (line.kind !== "+") oldLeft--;
    if (line.kind !== "-") newLeft--;
    if (oldLeft < 0 || newLeft < 0) return undefined;
    lines.push(line);
    at += line.noNewline ? 2 : 1;
  }
  let next = at;
  while (text.lines[next] === "") next++;
  return text.endsHunk(next) ? { lines, end: at } : undefined;
}

function recount(text: PatchText, start: number, header: Header | undefined): Body {
  const lines: HunkLine[] = [];
  let at = start;
  while (!text.endsHunk(at)) {
    const line = readLine(text, at);
    if (line === undefined) {
      const problem = "neither a line of a hunk nor a header";
      throw invalidPatch(
        at + 1,
        text.lines[at] ?? "",
        problem,
        "begin each line of a hunk with a space, - or +",
      );
    }
    lines.push(line);
    at += line.noNewline ? 2 : 1;
  }
  return { lines: withoutTrailingBlanks(text, lines, at, header), end: at };
}

/** Empty lines at the end may be separators: as many stay as the header counts, or none. */
function withoutTrailingBlanks(
  text: PatchText,
  lines: readonly HunkLine[],
  end: number,
  header: Header | undefined,
): readonly HunkLine[] {
  let blanks = 0;
  while (blanks < lines.length && text.lines[end - 1 - blanks] === "") blanks++;
  const rest = lines.slice(0, lines.length - blanks);
  const missing = (header?.oldCount ?? 0) - rest.filter((line) => line.kind !== "+").length;
  return missing > 0 && missing <= blanks ? lines.slice(0, rest.length + missing) : rest;
}

/** Undefined where no line of a hunk stands. */
function readLine(text: PatchText, at: number): HunkLine | undefined {
  const line = text.lines[at];
  if (line === undefined) return undefined;
  const noNewline = text.lines[at + 1]?.startsWith("\\") ?? false;
  if (line === "" || line === "\r") return { kind: " ", text: line, noNewline };
  const kind = line.charAt(0);
  if (kind !== " " && kind !== "-" && kind !== "+") return undefined;
  return { kind, text: line.slice(1), noNewline };
}
