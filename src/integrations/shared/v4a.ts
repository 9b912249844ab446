import { PyroError } from "../../protocol/index.js";

const FORM =
  "write `@@` and, where that helps, a line that stands above; then lines that begin with a space, - or +, exactly as they are in the file";

/** One change: the lines that are there, what stands for them, and a line above to look from. */
interface Section {
  readonly anchors: readonly string[];
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly atEnd: boolean;
}

/**
 * The content of a new file by a diff of OpenAI's apply_patch ("V4A"): each line behind a +.
 * @throws {PyroError} PATCH_INVALID
 */
export function createdContent(diff: string): string {
  const lines = bodyOf(diff).filter((line) => !isMarker(line) && !line.startsWith("@@"));
  const wrong = lines.find((line) => !line.startsWith("+"));
  if (wrong !== undefined) throw invalid(wrong, "begin each line of a new file with +");
  return lines.map((line) => `${line.slice(1)}\n`).join("");
}

/**
 * A file's content after such a diff, which has no line numbers: each section is looked for behind the one before.
 * @throws {PyroError} PATCH_INVALID, PATCH_DOES_NOT_APPLY
 */
export function updatedContent(content: string, diff: string): string {
  const endsInNewline = content === "" || content.endsWith("\n");
  const lines = content === "" ? [] : content.slice(0, endsInNewline ? -1 : undefined).split("\n");
  const isCrlf = lines.length > 0 && lines.every((line) => line.endsWith("\r"));
  const result: string[] = [];
  let at = 0;
  for (const { anchors, before, after, atEnd } of sectionsOf(diff)) {
    let from = at;
    for (const anchor of anchors) from = behind(lines, anchor, from);
    // A line above that models also repeat in the section leads too far.
    const found =
      before.length === 0 && atEnd
        ? lines.length
        : (find(lines, before, from, atEnd) ?? find(lines, before, at, atEnd));
    if (found === undefined) throw notThere(before, lines);
    result.push(
      ...lines.slice(at, found),
      ...spliced(lines.slice(found, found + before.length), before, after, isCrlf),
    );
    at = found + before.length;
  }
  result.push(...lines.slice(at));
  return result.join("\n") + (endsInNewline && result.length > 0 ? "\n" : "");
}

/** Lines that stay are taken from the file: they may be found by what is alike. */
function spliced(
  there: readonly string[],
  before: readonly string[],
  after: readonly string[],
  isCrlf: boolean,
): string[] {
  const kept = new Map<string, string[]>();
  before.forEach((line, index) => kept.set(line, [...(kept.get(line) ?? []), there[index] ?? line]));
  return after.map((line) => kept.get(line)?.shift() ?? (isCrlf ? `${line}\r` : line));
}

function sectionsOf(diff: string): Section[] {
  const sections: Section[] = [];
  let anchors: string[] = [];
  let before: string[] = [];
  let after: string[] = [];
  const end = (atEnd: boolean): void => {
    if (before.length > 0 || after.length > 0) sections.push({ anchors, before, after, atEnd });
    else if (!atEnd) return;
    [anchors, before, after] = [[], [], []];
  };
  for (const line of bodyOf(diff)) {
    if (line.startsWith("@@")) {
      end(false);
      // A unified diff's header says numbers, which models count wrong.
      const anchor = line
        .slice(2)
        .replace(/^ -\d+(,\d+)? \+\d+(,\d+)? @@/, "")
        .trim();
      if (anchor !== "") anchors.push(anchor);
    } else if (line === "*** End of File") end(true);
    else if (isMarker(line)) end(false);
    else if (line === "") [before, after].forEach((list) => list.push(""));
    else if (line.startsWith(" ")) [before, after].forEach((list) => list.push(line.slice(1)));
    else if (line.startsWith("-")) before.push(line.slice(1));
    else if (line.startsWith("+")) after.push(line.slice(1));
    else throw invalid(line, FORM);
  }
  end(false);
  if (sections.length === 0) throw new PyroError("PATCH_INVALID", "the diff changes nothing", { hint: FORM });
  return sections;
}

/** Its lines, without a unified diff's file header: the path stands beside the diff. */
function bodyOf(diff: string): string[] {
  const lines = diff.split("\n").map((line) => line.replace(/\r$/, ""));
  if (lines.at(-1) === "") lines.pop();
  const isHeader = lines[0]?.startsWith("--- ") === true && lines[1]?.startsWith("+++ ") === true;
  return isHeader ? lines.slice(2) : lines;
}

/** What frames a patch of several files, and git's word about a last line. */
function isMarker(line: string): boolean {
  return line.startsWith("*** ") || line.startsWith("\\ No newline");
}

/** The place behind the next line that is the anchor; where none is, nothing is skipped. */
function behind(lines: readonly string[], anchor: string, from: number): number {
  const found = lines.findIndex((line, index) => index >= from && line.trim() === anchor);
  return found < 0 ? from : found + 1;
}

/** Exactly, else but for white space at the end, else but for any around. */
function find(
  lines: readonly string[],
  wanted: readonly string[],
  from: number,
  atEnd: boolean,
): number | undefined {
  const last = lines.length - wanted.length;
  for (const normal of [
    (line: string) => line,
    (line: string) => line.trimEnd(),
    (line: string) => line.trim(),
  ]) {
    for (let start = atEnd ? Math.max(from, last) : from; start <= last; start++)
      if (wanted.every((line, index) => normal(lines[start + index] ?? "") === normal(line))) return start;
  }
  return atEnd ? find(lines, wanted, from, false) : undefined;
}

function invalid(line: string, hint: string): PyroError {
  return new PyroError("PATCH_INVALID", `the diff has the line ${JSON.stringify(line.slice(0, 200))}`, {
    hint,
  });
}

function notThere(wanted: readonly string[], lines: readonly string[]): PyroError {
  const missing = wanted.find(
    (line) => line.trim() !== "" && !lines.some((there) => there.trim() === line.trim()),
  );
  const what =
    missing === undefined
      ? "the lines of a section do not follow each other so in the file"
      : `the file has no line ${JSON.stringify(missing.slice(0, 200))}`;
  return new PyroError("PATCH_DOES_NOT_APPLY", what, {
    hint: "read the file again, and write its lines as they are",
  });
}
