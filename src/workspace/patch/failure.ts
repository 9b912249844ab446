import { PyroError } from "../../protocol/index.js";
import { textOf, type ByteString } from "../../kit/index.js";
import { sideOf, type Misplaced } from "./edit.js";
import { withoutReturn, type FileLines } from "./lines.js";
import { nearestPlace, standsAlready } from "./nearest.js";
import type { ScanBudget } from "./search.js";

/** A line of the file, counted from 1. */
export interface FileLine {
  readonly line: number;
  readonly text: string;
  /** It is not what the hunk expects there. */
  readonly differs: boolean;
}

/** One thing that does not apply: a hunk, or (hunk undefined) a whole file. Plain values, for the error's details. */
export interface Failure {
  readonly path: string;
  /** Line of the patch, from 1. */
  readonly patch_line: number;
  readonly hunk?: number;
  readonly reason: string;
  /** What the patch does seems to be done already. */
  readonly applied_already: boolean;
  /** Lines that the hunk expects, and the lines of the file that are most like them. */
  readonly expected?: readonly string[];
  readonly nearest?: readonly FileLine[];
}

/** Failures that are reported; after so many, no more are looked for. */
export const FAILURES_SHOWN = 20;
const LINES_SHOWN = 14;
const CHARACTERS_SHOWN = 160;
const HINT_CHARACTERS = 6_000;

/** Why a hunk has no place in a file, with the lines that it wants and those that are there. */
export function hunkFailure(
  path: ByteString,
  file: FileLines,
  misplaced: Misplaced,
  budget: ScanBudget,
  show: (line: ByteString) => ByteString,
): Failure {
  const { hunk, misfit, places } = misplaced;
  const wanted = sideOf(hunk, "old");
  const already = misfit === "absent" && standsAlready(file.lines, sideOf(hunk, "new"), budget);
  const expectedAt = Math.max(0, (hunk.oldStart ?? 1) - 1);
  const place =
    misfit === "ambiguous" ? undefined : (nearestPlace(file.lines, wanted, expectedAt, budget) ?? expectedAt);
  return {
    path: textOf(path),
    patch_line: hunk.line,
    hunk: hunk.number,
    reason:
      misfit === "absent" && place !== undefined && differsInSpaces(file.lines, wanted, place)
        ? "its lines are in the file, but with other spaces or tabs"
        : reasonOf(misplaced, file, places),
    applied_already: already,
    ...quote(file.lines, wanted, place, show),
  };
}

function reasonOf({ misfit, hunk }: Misplaced, file: FileLines, places: readonly number[]): string {
  switch (misfit) {
    case "absent":
      return "its context and removed lines are not in the file, in this order";
    case "ambiguous":
      return `its lines stand in several places equally near (lines ${places.join(", ")}); more context would tell them apart`;
    case "no context":
      return "it only adds lines, without a line of context that says where";
    case "no such line":
      return `it adds behind line ${hunk.oldStart ?? 0}, and the file has ${file.lines.length} lines`;
    case "too costly":
      return "its place was not found within the time allowed for a search";
  }
}

function isSame(line: ByteString | undefined, other: ByteString): boolean {
  return line !== undefined && withoutReturn(line) === withoutReturn(other);
}

/** The most frequent slip, and the hardest to see. */
function differsInSpaces(lines: readonly ByteString[], wanted: readonly ByteString[], at: number): boolean {
  const squeezed = (line: ByteString | undefined): ByteString | undefined => line?.replaceAll(/\s+/g, "");
  return wanted.every((line, index) => squeezed(lines[at + index]) === squeezed(line));
}

/** Both sides, begun shortly before the first line that differs. */
function quote(
  lines: readonly ByteString[],
  wanted: readonly ByteString[],
  place: number | undefined,
  show: (line: ByteString) => ByteString,
): Pick<Failure, "expected" | "nearest"> {
  const at = place ?? 0;
  const first = wanted.findIndex((line, index) => !isSame(lines[at + index], line));
  const skip = place === undefined ? 0 : Math.max(0, Math.min(first - 3, wanted.length - LINES_SHOWN));
  const expected = wanted.slice(skip, skip + LINES_SHOWN).map((line) => shown(show(line)));
  if (place === undefined) return { expected };
  const from = Math.max(0, at + skip);
  const nearest = lines
    .slice(from, Math.max(from + 1, Math.min(at + wanted.length, at + skip + LINES_SHOWN)))
    .map((line, index): FileLine => ({
      line: from + index + 1,
      text: shown(show(line)),
      differs: !isSame(line, wanted[from - at + index] ?? ""),
    }));
  return nearest.length === 0 ? { expected } : { expected, nearest };
}

function shown(line: ByteString): string {
  const text = textOf(line.slice(0, CHARACTERS_SHOWN * 4).replace(/\r$/, ""));
  return text.length > CHARACTERS_SHOWN ? `${text.slice(0, CHARACTERS_SHOWN)}…` : text;
}

/** All failures as one error; nothing was changed. */
export function doesNotApply(failures: readonly Failure[]): PyroError {
  const [first] = failures;
  const subject =
    first?.hunk === undefined
      ? `the patch does not apply to ${first?.path ?? ""}: ${first?.reason ?? ""}`
      : `hunk ${first.hunk} (line ${first.patch_line} of the patch) does not apply to ${first.path}`;
  const others = failures.length > FAILURES_SHOWN ? `at least ${FAILURES_SHOWN}` : failures.length - 1;
  const more = failures.length > 1 ? `, and ${others} more` : "";
  const already = failures.length > 0 && failures.every((failure) => failure.applied_already);
  const next = already
    ? "the change seems to be applied already: read the file before you try again"
    : "read the file as it is now, and make the patch from that";
  return new PyroError("PATCH_DOES_NOT_APPLY", `${subject}${more}; nothing was changed`, {
    hint: [next, ...sections(failures)].join("\n"),
    details: { failures: failures.slice(0, FAILURES_SHOWN), failure_count: failures.length },
  });
}

/** Every failure in words, as far as there is room; the first always. */
function sections(failures: readonly Failure[]): string[] {
  const texts: string[] = [];
  let room = HINT_CHARACTERS;
  for (const failure of failures.slice(0, FAILURES_SHOWN)) {
    const text = section(failure);
    room -= text.length;
    if (room < 0 && texts.length > 0) break;
    texts.push(text);
  }
  const left = failures.length - texts.length;
  return left === 0 ? texts : [...texts, `… and ${left} more that do not apply`];
}

function section({ path, hunk, patch_line, reason, applied_already, expected, nearest }: Failure): string {
  const where = hunk === undefined ? path : `${path}, hunk ${hunk}`;
  const lines = [`${where} (line ${patch_line} of the patch): ${reason}`];
  if (applied_already) lines.push("it seems to be applied already");
  if (expected !== undefined && expected.length > 0) {
    lines.push("the hunk expects:", ...expected.map((text) => `       | ${text}`));
  }
  if (nearest !== undefined) {
    lines.push("the file has there:", ...nearest.map((line) => `${marked(line)}| ${line.text}`));
  }
  return lines.join("\n");
}

function marked({ line, differs }: FileLine): string {
  return `${differs ? ">" : " "}${String(line).padStart(5)} `;
}
