import { LIMITS } from "../../protocol/index.js";
import type { ByteString } from "../../kit/index.js";

/** Lines that may still be looked at while one patch is tried: its cost is bounded, whatever file and patch are. */
export class ScanBudget {
  #left: number = LIMITS.patchScanLines;

  /** False when there is none left. */
  spend(lines: number): boolean {
    this.#left -= lines;
    return this.#left > 0;
  }
}

/** Whether all `wanted` lines stand in `lines` from `at` on. */
export function standsAt(lines: readonly ByteString[], wanted: readonly ByteString[], at: number): boolean {
  if (at < 0 || at + wanted.length > lines.length) return false;
  for (const [index, line] of wanted.entries()) if (lines[at + index] !== line) return false;
  return true;
}

/**
 * Every place where `wanted` stands, overlapping ones too (Knuth, Morris and Pratt: linear, also for a file of a
 * million equal lines).
 */
export function* placesOf(lines: readonly ByteString[], wanted: readonly ByteString[]): Generator<number> {
  if (wanted.length === 0 || wanted.length > lines.length) return;
  const fallback = fallbacks(wanted);
  let matched = 0;
  for (const [index, line] of lines.entries()) {
    while (matched > 0 && wanted[matched] !== line) matched = fallback[matched - 1] ?? 0;
    if (wanted[matched] === line) matched++;
    if (matched === wanted.length) {
      yield index + 1 - matched;
      matched = fallback[matched - 1] ?? 0;
    }
  }
}

function fallbacks(wanted: readonly ByteString[]): readonly number[] {
  const fallback = [0];
  let length = 0;
  for (let index = 1; index < wanted.length; index++) {
    while (length > 0 && wanted[index] !== wanted[length]) length = fallback[length - 1] ?? 0;
    if (wanted[index] === wanted[length]) length++;
    fallback.push(length);
  }
  return fallback;
}
