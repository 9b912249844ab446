import type { ByteString } from "../../kit/index.js";
import type { Hunk } from "./hunk.js";
import { withoutReturn, type FileLines } from "./lines.js";
import { placesOf, standsAt, type ScanBudget } from "./search.js";

/** Why a hunk has no place. */
export type Misfit = "absent" | "ambiguous" | "no context" | "no such line" | "too costly";

export interface Misplaced {
  readonly hunk: Hunk;
  readonly misfit: Misfit;
  /** Of an ambiguous hunk: lines, from 1, where it fits equally well. */
  readonly places: readonly number[];
}

interface Added {
  readonly text: ByteString;
  readonly noNewline: boolean;
  /** Its ending is the file's choice, not the patch's. */
  readonly converted: boolean;
}

/** Old or new side of a hunk. */
export function sideOf(hunk: Hunk, side: "old" | "new"): ByteString[] {
  const other = side === "old" ? "+" : "-";
  return hunk.lines.filter((line) => line.kind !== other).map((line) => line.text);
}

/**
 * Edits of one file. Every hunk is matched against the file as it was: line for line, and where nothing fits, once
 * more without looking at carriage returns. Then the lines that it adds end as the file's lines around them do, so
 * that a patch with LF lines keeps a CRLF file CRLF. Nothing else is forgiven.
 */
export class FileEdit {
  readonly #file: FileLines;
  readonly #budget: ScanBudget;
  /** The same lines without carriage returns, made when they are first needed. */
  #plain: readonly ByteString[] | undefined;
  readonly #removed = new Set<number>();
  /** Lines added before a line of the file, by its index. */
  readonly #added = new Map<number, Added[]>();
  /** The patch says that the file's last line has no newline: then it says how the file ends. */
  #endingKnown = false;
  #drift = 0;

  constructor(file: FileLines, budget: ScanBudget) {
    this.#file = file;
    this.#budget = budget;
  }

  /** Takes the hunk in, or says why it has no place. */
  place(hunk: Hunk): Misplaced | undefined {
    if (hunk.insertsAt) return this.#insertAt(hunk);
    const wanted = sideOf(hunk, "old");
    if (wanted.length === 0) {
      return this.#file.lines.length === 0
        ? this.#take(hunk, 0, false)
        : { hunk, misfit: "no context", places: [] };
    }
    const expected = hunk.oldStart === undefined ? undefined : hunk.oldStart - 1 + this.#drift;
    const literal = this.#find(hunk, this.#file.lines, wanted, expected);
    if (typeof literal === "number") return this.#take(hunk, literal, false);
    if (literal.misfit !== "absent") return literal;
    this.#plain ??= this.#file.lines.map(withoutReturn);
    const loose = this.#find(hunk, this.#plain, wanted.map(withoutReturn), expected);
    return typeof loose === "number" ? this.#take(hunk, loose, true) : loose;
  }

  /** The file with all hunks in it. */
  result(): ByteString {
    const { lines, finalNewline, crlf } = this.#file;
    const out: ByteString[] = [];
    let last: Added | number | undefined;
    for (let index = 0; index <= lines.length; index++) {
      for (const added of this.#added.get(index) ?? []) {
        out.push(added.text);
        last = added;
      }
      if (index === lines.length || this.#removed.has(index)) continue;
      out.push(lines[index] ?? "");
      last = index;
    }
    if (last === undefined) return "";
    const oldLast = lines.length - 1;
    if (!finalNewline && crlf && last !== oldLast && !this.#removed.has(oldLast)) this.#closeOldLast(out);
    const newline =
      last === oldLast
        ? finalNewline
        : typeof last === "object" && last.noNewline
          ? false
          : finalNewline || this.#endingKnown;
    const text = out.join("\n");
    if (newline) return `${text}\n`;
    return typeof last === "object" && last.converted ? withoutReturn(text) : text;
  }

  /** The last line of a CRLF file that had no newline gets one: a whole one. */
  #closeOldLast(out: ByteString[]): void {
    const behind = this.#added.get(this.#file.lines.length)?.length ?? 0;
    const at = out.length - 1 - behind;
    const line = out[at];
    if (line !== undefined && !line.endsWith("\r")) out[at] = `${line}\r`;
  }

  #insertAt(hunk: Hunk): Misplaced | undefined {
    const at = Math.max(0, (hunk.oldStart ?? 0) + this.#drift);
    if (at > this.#file.lines.length) return { hunk, misfit: "no such line", places: [] };
    if (this.#added.has(at)) return { hunk, misfit: "ambiguous", places: [at] };
    return this.#take(hunk, at, false);
  }

  /** The nearest place to the expected one; several equally near ones are none. */
  #find(
    hunk: Hunk,
    lines: readonly ByteString[],
    wanted: readonly ByteString[],
    expected: number | undefined,
  ): number | Misplaced {
    const fits = (at: number): boolean => standsAt(lines, wanted, at) && this.#free(hunk, at);
    if (expected !== undefined && fits(expected)) return expected;
    if (!this.#budget.spend(lines.length + wanted.length)) return { hunk, misfit: "too costly", places: [] };
    let nearest: number[] = [];
    let distance = Infinity;
    for (const at of placesOf(lines, wanted)) {
      const away = expected === undefined ? 0 : Math.abs(at - expected);
      if (away > distance) continue;
      if (!this.#budget.spend(hunk.lines.length)) return { hunk, misfit: "too costly", places: [] };
      if (!this.#free(hunk, at)) continue;
      if (away < distance) nearest = [];
      distance = away;
      if (nearest.length < 5) nearest.push(at);
    }
    const [only, second] = nearest;
    if (only === undefined) return { hunk, misfit: "absent", places: [] };
    if (second === undefined) return only;
    return { hunk, misfit: "ambiguous", places: nearest.map((at) => at + 1) };
  }

  /** No other hunk removes these lines or adds in the same gap; what ends the file in the hunk ends it here. */
  #free(hunk: Hunk, at: number): boolean {
    const { lines, finalNewline } = this.#file;
    let index = at;
    let ends = false;
    for (const line of hunk.lines) {
      if (line.kind === "+") {
        if (this.#added.has(index)) return false;
        ends ||= line.noNewline;
        continue;
      }
      if (this.#removed.has(index)) return false;
      index++;
      if (line.noNewline && (finalNewline || index !== lines.length)) return false;
    }
    return !ends || index === lines.length;
  }

  #take(hunk: Hunk, at: number, loose: boolean): Misplaced | undefined {
    const ending = this.#endingFor(hunk, at, loose);
    const { finalNewline, lines } = this.#file;
    let index = at;
    for (const line of hunk.lines) {
      if (line.kind === "+") {
        const returned = ending?.(index);
        const text = returned === undefined ? line.text : withoutReturn(line.text) + (returned ? "\r" : "");
        const added = { text, noNewline: line.noNewline, converted: returned !== undefined };
        const before = this.#added.get(index);
        if (before === undefined) this.#added.set(index, [added]);
        else before.push(added);
        continue;
      }
      if (line.kind === "-") this.#removed.add(index);
      index++;
      if (line.noNewline && !finalNewline && index === lines.length) this.#endingKnown = true;
    }
    if (hunk.oldStart !== undefined) this.#drift = at - (hunk.oldStart - (hunk.insertsAt ? 0 : 1));
    return undefined;
  }

  /** Whether a line added before an index ends in a carriage return; undefined: as the patch has it. */
  #endingFor(hunk: Hunk, at: number, loose: boolean): ((index: number) => boolean) | undefined {
    const { lines, finalNewline, crlf } = this.#file;
    const ended = (index: number): boolean =>
      index < lines.length - 1 || (index === lines.length - 1 && finalNewline);
    const returned = (index: number): boolean => lines[index]?.endsWith("\r") ?? false;
    if (!loose) {
      if (hunk.lines.some((line) => line.text.endsWith("\r"))) return undefined;
      // The lines that matched are LF lines; without one, only the file as a whole says how lines end.
      const matchedLine = hunk.lines.some((line) => line.kind !== "+") && ended(at);
      return matchedLine || !crlf ? undefined : () => true;
    }
    return (index) => {
      if (index > 0 && ended(index - 1)) return returned(index - 1);
      return ended(index) ? returned(index) : crlf;
    };
  }
}
