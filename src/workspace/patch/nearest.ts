import type { ByteString } from "../../kit/index.js";
import { withoutReturn } from "./lines.js";
import { placesOf, type ScanBudget } from "./search.js";

/** Occurrences of one line that vote; a line that stands everywhere says nothing about the place. */
const VOTES_PER_LINE = 50;
/** Lines of a hunk that vote, and lines of a file that are compared by their letters. */
const VOTING_LINES = 200;
const COMPARED_LINES = 5_000;
const COMPARED_CHARACTERS = 200;
/** Below this likeness (of 1) a line is no hint but noise. */
const LIKENESS_MIN = 0.4;

/** Where in the file the lines of a hunk probably belong; undefined: nowhere that would help. */
export function nearestPlace(
  file: readonly ByteString[],
  wanted: readonly ByteString[],
  expected: number,
  budget: ScanBudget,
): number | undefined {
  if (!budget.spend(file.length)) return undefined;
  return mostLinesInCommon(file, wanted, expected) ?? mostAlike(file, wanted, expected);
}

/** Whether the lines stand in the file already; carriage returns are not looked at. */
export function standsAlready(
  file: readonly ByteString[],
  wanted: readonly ByteString[],
  budget: ScanBudget,
): boolean {
  if (!wanted.some((line) => line.trim() !== "") || !budget.spend(file.length)) return false;
  return placesOf(file.map(withoutReturn), wanted.map(withoutReturn)).next().done === false;
}

/** Each line that stands in both, but for the space around it, votes for the place it would give the hunk. */
function mostLinesInCommon(
  file: readonly ByteString[],
  wanted: readonly ByteString[],
  expected: number,
): number | undefined {
  const occurrences = new Map<ByteString, number[]>();
  for (const line of wanted.slice(0, VOTING_LINES)) if (line.trim() !== "") occurrences.set(line.trim(), []);
  for (const [index, line] of file.entries()) {
    const known = occurrences.get(line.trim());
    if (known !== undefined && known.length < VOTES_PER_LINE) known.push(index);
  }
  const votes = new Map<number, number>();
  for (const [offset, line] of wanted.slice(0, VOTING_LINES).entries()) {
    const found = occurrences.get(line.trim()) ?? [];
    // A closing brace that stands everywhere counts less than a line that stands once.
    for (const index of found) votes.set(index - offset, (votes.get(index - offset) ?? 0) + 1 / found.length);
  }
  return best(votes, expected);
}

/** The line with most letters against every line of the file. */
function mostAlike(
  file: readonly ByteString[],
  wanted: readonly ByteString[],
  expected: number,
): number | undefined {
  let offset = 0;
  for (const [index, line] of wanted.entries()) {
    if (line.trim().length > (wanted[offset] ?? "").trim().length) offset = index;
  }
  const pairs = pairsOf(wanted[offset] ?? "");
  if (pairs.size === 0) return undefined;
  const from = Math.max(0, Math.min(expected - COMPARED_LINES / 2, file.length - COMPARED_LINES));
  const scores = new Map<number, number>();
  for (let index = from; index < Math.min(file.length, from + COMPARED_LINES); index++) {
    const score = likeness(pairs, pairsOf(file[index] ?? ""));
    if (score >= LIKENESS_MIN) scores.set(index - offset, score);
  }
  return best(scores, expected);
}

function best(scores: ReadonlyMap<number, number>, expected: number): number | undefined {
  let winner: number | undefined;
  let highest = 0;
  for (const [place, score] of scores) {
    const nearer = winner === undefined || Math.abs(place - expected) < Math.abs(winner - expected);
    if (score < highest || (score === highest && !nearer)) continue;
    winner = place;
    highest = score;
  }
  return winner;
}

/** Pairs of letters that follow each other (Dice 1945). */
function pairsOf(line: ByteString): ReadonlySet<string> {
  const text = line.trim().slice(0, COMPARED_CHARACTERS);
  const pairs = new Set<string>();
  for (let at = 0; at + 2 <= text.length; at++) pairs.add(text.slice(at, at + 2));
  return pairs;
}

function likeness(left: ReadonlySet<string>, right: ReadonlySet<string>): number {
  let common = 0;
  for (const pair of left) if (right.has(pair)) common++;
  return (2 * common) / Math.max(1, left.size + right.size);
}
