import { Automaton } from "./automaton.js";
import { LIMITS } from "../../protocol/index.js";
import { formsOf, type Forms } from "./forms.js";
import { Scan, type Patterns, type ScanPosition, type ScanSink } from "./scan.js";

/** What stands in the place of a secret. */
export const REDACTED = "[REDACTED]";
const MARK = Buffer.from(REDACTED);
const STAR = 0x2a;
const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** A stream of bytes without secrets; what may be the beginning of one is held back until it is known. */
export interface Redaction {
  /** What is known to be no secret, with what is one replaced; may be empty. */
  push(data: Uint8Array): Uint8Array;
  /** What was held back at the end. */
  end(): Uint8Array;
  /** From where another process has to read the source again to go on. */
  readonly position: ScanPosition;
  /** How many of the last bytes may be the beginning of a secret, those that were given by `end` already among them. */
  readonly openBytes: number;
}

/**
 * Takes the values of secrets out of what is shown: as they are, in base64 (any place in a longer text, both alphabets,
 * broken into lines or not) and percent-encoded (all characters or some, hex digits of both cases, `+` for a space), and of
 * values with several lines each longer line by itself. Made once per workspace; finding costs one pass, whatever there is to find.
 */
export class Redactor {
  /** Of a workspace without secrets: nothing is looked at. */
  static readonly none = new Redactor([]);
  readonly #values: readonly Uint8Array[];
  #patterns: Patterns | undefined;
  #forms: Forms | undefined;

  constructor(values: readonly Uint8Array[]) {
    this.#values = values;
  }

  get isEmpty(): boolean {
    return this.#values.length === 0;
  }

  /** Most bytes of a source that one occurrence takes, on each side of a place within it. */
  get reachBytes(): number {
    if (this.isEmpty) return 0;
    const { plain, base64 } = this.#loaded();
    return 3 * Math.max(plain.longestPattern, base64.longestPattern);
  }

  /** Bytes with each secret as `[REDACTED]`. */
  bytes(data: Uint8Array): Uint8Array {
    return this.isEmpty ? data : whole(this.stream(), data);
  }

  /** Text with each secret as `[REDACTED]`. */
  text(text: string): string {
    if (this.isEmpty || text === "") return text;
    const data = Buffer.from(text);
    return this.finds(data) ? Buffer.from(this.bytes(data)).toString() : text;
  }

  /** The same value with all its strings redacted; names of fields stay. */
  values<T>(value: T): T {
    return this.isEmpty ? value : (this.#inside(value) as T);
  }

  /**
   * Bytes with each secret replaced by as many: `[REDACTED]`, then stars, cut where the secret is shorter. Line ends stay.
   * Offsets and lines of the source keep their meaning.
   */
  mask(data: Uint8Array): Uint8Array {
    return this.isEmpty ? data : whole(this.masking(), data);
  }

  /** Whether there is a secret in it. */
  finds(data: Uint8Array | string): boolean {
    if (this.isEmpty) return false;
    const found = new Finding(this.#loaded());
    found.push(typeof data === "string" ? Buffer.from(data) : data);
    return found.any;
  }

  /** Whether there is a secret in what a source gives; it is read no further than the first. */
  async findsIn(source: AsyncIterable<Uint8Array>): Promise<boolean> {
    if (this.isEmpty) return false;
    const found = new Finding(this.#loaded());
    for await (const data of source) {
      found.push(data);
      if (found.any) return true;
    }
    return false;
  }

  /** Looks for secrets in what is pushed, piece by piece. Only where there are some. */
  finding(): Finding {
    return new Finding(this.#loaded());
  }

  /** A stream with each secret as `[REDACTED]`; `from` is the position of an earlier one that this one goes on with. */
  stream(from?: ScanPosition): Redaction {
    if (this.isEmpty) return new Untouched(from?.taken ?? 0);
    return new Replacing(this.#loaded(), from, (_, begins) => (begins ? MARK : NOTHING));
  }

  /** A stream as `mask` makes it. */
  masking(): Redaction {
    if (this.isEmpty) return new Untouched(0);
    let done = 0;
    return new Replacing(this.#loaded(), undefined, (data, begins) => {
      if (begins) done = 0;
      const masked = Uint8Array.from(data, (byte, index) =>
        byte === NEWLINE || byte === RETURN ? byte : (MARK[done + index] ?? STAR),
      );
      done += data.length;
      return masked;
    });
  }

  /**
   * A part of a source without its beginning, as many bytes, where its first ones may be the rest of a secret that began
   * before: of one as it is or in base64, from `LIMITS.secretMinBytes` bytes on.
   */
  maskRest(data: Uint8Array): Uint8Array {
    if (this.isEmpty || data.length === 0) return data;
    this.#forms ??= formsOf(this.#values);
    const begins = Buffer.from(data.buffer, data.byteOffset, data.length);
    const rest = Math.max(
      0,
      ...[...this.#forms.plain, ...this.#forms.base64].map((form) => restAt(begins, form)),
    );
    if (rest === 0) return data;
    const masked = Uint8Array.from(data);
    return masked.fill(STAR, 0, rest);
  }

  #loaded(): Patterns {
    if (this.#patterns === undefined) {
      const { plain, base64 } = (this.#forms ??= formsOf(this.#values));
      const hasSpace = plain.some((pattern) => pattern.includes(0x20));
      this.#patterns = { plain: new Automaton(plain), base64: new Automaton(base64), hasSpace };
    }
    return this.#patterns;
  }

  #inside(value: unknown): unknown {
    if (typeof value === "string") return this.text(value);
    if (Array.isArray(value)) return value.map((each) => this.#inside(each));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, this.#inside(each)]));
  }
}

/** How many of the first bytes are the end of a form, at most all but its first; 0: too few to tell. */
function restAt(data: Buffer, form: Uint8Array): number {
  const first = data[0] ?? 0;
  const last = form.length - LIMITS.secretMinBytes;
  for (let from = form.indexOf(first, 1); from > 0 && from <= last; from = form.indexOf(first, from + 1)) {
    const rest = form.subarray(from);
    if (data.subarray(0, rest.length).equals(rest)) return rest.length;
  }
  return 0;
}

const NOTHING = new Uint8Array();

function whole(redaction: Redaction, data: Uint8Array): Uint8Array {
  return Buffer.concat([redaction.push(data), redaction.end()]);
}

/** Gives the bytes on, with those of secrets replaced. */
class Replacing implements Redaction {
  readonly #scan: Scan;
  #parts: Uint8Array[] = [];

  constructor(
    patterns: Patterns,
    from: ScanPosition | undefined,
    replace: (data: Uint8Array, begins: boolean) => Uint8Array,
  ) {
    const sink: ScanSink = {
      clear: (data) => void this.#parts.push(data),
      covered: (data, begins) => void this.#parts.push(replace(data, begins)),
    };
    this.#scan = new Scan(patterns, sink, from);
  }

  get position(): ScanPosition {
    return this.#scan.position;
  }

  get openBytes(): number {
    return this.#scan.openBytes;
  }

  push(data: Uint8Array): Uint8Array {
    this.#scan.push(data);
    return this.#take();
  }

  end(): Uint8Array {
    this.#scan.end();
    return this.#take();
  }

  #take(): Uint8Array {
    const parts = this.#parts;
    this.#parts = [];
    return parts.length === 1 ? (parts[0] ?? NOTHING) : Buffer.concat(parts);
  }
}

/** Only says whether there is one. */
export class Finding {
  any = false;
  readonly #scan: Scan;

  constructor(patterns: Patterns) {
    this.#scan = new Scan(patterns, { clear: () => undefined, covered: () => (this.any = true) });
  }

  /** What was held back before is looked at as well: a match that is complete may be the beginning of a longer one. */
  push(data: Uint8Array): void {
    this.#scan.push(data);
    this.any ||= this.#scan.hasFound;
  }
}

/** Where there is nothing to look for. */
class Untouched implements Redaction {
  readonly openBytes = 0;

  constructor(private taken: number) {}

  get position(): ScanPosition {
    return { taken: this.taken, covered: undefined };
  }

  push(data: Uint8Array): Uint8Array {
    this.taken += data.length;
    return data;
  }

  end(): Uint8Array {
    return NOTHING;
  }
}
