import { LIMITS, PyroError } from "../../protocol/index.js";
import type { SeedProgress } from "./source.js";

/** Counts what goes into a seed, and holds it to its bounds. */
export class SeedTally implements SeedProgress {
  entryCount = 0;
  bytes = 0;
  readonly #warnings: string[] = [];
  #dropped = 0;

  /**
   * One more entry with this much content.
   * @throws {PyroError} SEED_TOO_LARGE
   */
  add(bytes: number): void {
    this.entryCount += 1;
    this.bytes += bytes;
    if (this.entryCount > LIMITS.seedEntries) throw tooLarge("entries", LIMITS.seedEntries);
    if (this.bytes > LIMITS.seedBytes) throw tooLarge("bytes of content", LIMITS.seedBytes);
  }

  warn(text: string): void {
    if (this.#warnings.length < LIMITS.seedWarnings) this.#warnings.push(text);
    else this.#dropped += 1;
  }

  get warnings(): readonly string[] {
    return this.#dropped === 0
      ? this.#warnings
      : [...this.#warnings, `and ${this.#dropped} more of this kind`];
  }
}

function tooLarge(what: string, limit: number): PyroError {
  return new PyroError("SEED_TOO_LARGE", `the seed has more than ${limit} ${what}`, {
    hint: "seed a part of it: `--seed-path DIR/PART`",
    details: { which: what, limit },
  });
}
