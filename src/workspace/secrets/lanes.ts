import type { Automaton } from "./automaton.js";

/** Takes what was found: bytes of the source from `start` to before `end`. */
export type OnFound = (start: number, end: number) => void;

/** One way to read the bytes: as tokens, each of which comes from one or more bytes of the source. */
class Tokens {
  /** Where the last tokens begin in the source; made when the first one comes. */
  #starts: Float64Array | undefined;
  #count = 0;
  state = 0;

  constructor(private readonly automaton: Automaton) {}

  take(value: number, start: number, end: number, onFound: OnFound): void {
    const starts = (this.#starts ??= new Float64Array(powerAbove(this.automaton.longestPattern)));
    starts[this.#count & (starts.length - 1)] = start;
    this.#count += 1;
    this.state = this.automaton.step(this.state, value);
    const length = this.automaton.found(this.state);
    if (length > 0) onFound(this.#back(length), end);
  }

  /** Where what may become a match begins; `otherwise` where nothing may. */
  openFrom(otherwise: number): number {
    const open = this.automaton.open(this.state);
    return open === 0 ? otherwise : this.#back(open);
  }

  /** Stands where another reading stands, whose last tokens are a byte each and end before `end`. */
  standAt(state: number, end: number): void {
    this.state = 0;
    const depth = this.automaton.depth(state);
    const starts = (this.#starts ??= new Float64Array(powerAbove(this.automaton.longestPattern)));
    for (let back = depth; back >= 1; back--) {
      starts[this.#count & (starts.length - 1)] = end - back;
      this.#count += 1;
    }
    this.state = state;
  }

  #back(tokens: number): number {
    const starts = this.#starts;
    return starts?.[(this.#count - tokens) & (starts.length - 1)] ?? 0;
  }
}

function powerAbove(length: number): number {
  return 2 ** Math.ceil(Math.log2(length + 1));
}

export const PERCENT = 0x25;
const PLUS = 0x2b;
const SPACE = 0x20;
const NEWLINE = 0x0a;
const RETURN = 0x0d;

/**
 * Reads `%41` as `A`, whatever else is encoded, and `+` as a space where that is asked for. It runs only as long as
 * something that it reads otherwise than the plain reading lies within the longest pattern.
 */
export class PercentLane {
  readonly #tokens: Tokens;
  /** Bytes of an escape that has begun. */
  #begun = 0;
  #begunAt = 0;
  #high = 0;
  /** Tokens until this reading is the plain one again; 0: it is. */
  #left = 0;

  constructor(
    private readonly automaton: Automaton,
    private readonly plusIsSpace: boolean,
  ) {
    this.#tokens = new Tokens(automaton);
  }

  /** Nothing that it would read otherwise lies near. */
  get isIdle(): boolean {
    return this.#left === 0 && this.#begun === 0;
  }

  /** `plainState`: where the plain reading stood before this byte. */
  take(byte: number, at: number, plainState: number, onFound: OnFound): void {
    if (this.isIdle) {
      if (byte !== PERCENT && !(this.plusIsSpace && byte === PLUS)) return;
      this.#tokens.standAt(plainState, at);
      this.#left = this.automaton.longestPattern;
    }
    const digit = hexDigit(byte);
    if (this.#begun > 0 && digit < 0) this.#giveUp(onFound);
    if (this.#begun === 1) {
      this.#high = byte;
      this.#begun = 2;
    } else if (this.#begun === 2) {
      this.#begun = 0;
      this.#left = this.automaton.longestPattern;
      this.#tokens.take(16 * hexDigit(this.#high) + digit, this.#begunAt, at + 1, onFound);
    } else if (byte === PERCENT) {
      this.#begun = 1;
      this.#begunAt = at;
    } else if (this.plusIsSpace && byte === PLUS) {
      this.#left = this.automaton.longestPattern;
      this.#tokens.take(SPACE, at, at + 1, onFound);
    } else {
      this.#plain(byte, at, onFound);
    }
  }

  openFrom(otherwise: number): number {
    if (this.isIdle) return otherwise;
    return this.#tokens.openFrom(this.#begun > 0 ? this.#begunAt : otherwise);
  }

  /** What began as an escape is none: its bytes stand for themselves. */
  #giveUp(onFound: OnFound): void {
    const begun = this.#begun;
    this.#begun = 0;
    this.#plain(PERCENT, this.#begunAt, onFound);
    if (begun === 2) this.#plain(this.#high, this.#begunAt + 1, onFound);
  }

  #plain(byte: number, at: number, onFound: OnFound): void {
    this.#tokens.take(byte, at, at + 1, onFound);
    if (this.#left > 0) this.#left -= 1;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Characters of both alphabets, those of the URL's as their standard ones; 0 for all else. */
const BASE64 = (() => {
  const table = new Uint8Array(256);
  for (const char of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    table[char.charCodeAt(0)] = char.charCodeAt(0);
  table["-".charCodeAt(0)] = PLUS;
  table["_".charCodeAt(0)] = "/".charCodeAt(0);
  return table;
})();

/** From so many characters on a match goes over a line's end: fewer would hold the ends of other lines back. */
const OVER_LINES_FROM = 4;

/** Reads base64, also where it is broken into lines. */
export class Base64Lane {
  #state = 0;
  /** Where the ends of lines within the last characters lie in the source. */
  #lineEnds: number[] = [];
  #lineEndBytes = 0;
  /** What lies before is given up. */
  #notBefore = 0;

  constructor(private readonly automaton: Automaton) {}

  take(byte: number, at: number, onFound: OnFound): void {
    const char = BASE64[byte] ?? 0;
    if (char !== 0) {
      this.#lineEndBytes = 0;
      const state = this.automaton.step(this.#state, char);
      this.#state = state;
      const length = this.automaton.found(state);
      if (length > 0) onFound(this.#back(length, at + 1), at + 1);
    } else if (this.#state !== 0) this.#takeOther(byte, at);
  }

  openFrom(end: number): number {
    const open = this.automaton.open(this.#state);
    return open === 0 ? end : this.#back(open, end);
  }

  #takeOther(byte: number, at: number): void {
    // CR and LF: an end of a line has two bytes at most, which bounds what a match spans.
    this.#lineEndBytes += 1;
    if ((byte !== NEWLINE && byte !== RETURN) || this.#lineEndBytes > 2) {
      this.#state = 0;
      this.#lineEnds = [];
    } else if (this.automaton.depth(this.#state) < OVER_LINES_FROM) {
      this.#notBefore = at + 1;
      this.#lineEnds = [];
    } else {
      this.#lineEnds.push(at);
      const most = 2 * this.automaton.longestPattern;
      if (this.#lineEnds.length > 2 * most) this.#lineEnds = this.#lineEnds.slice(-most);
    }
  }

  /** Where the last characters before `end` begin. */
  #back(characters: number, end: number): number {
    let start = end - characters;
    for (let index = this.#lineEnds.length - 1; index >= 0; index--) {
      if ((this.#lineEnds[index] ?? 0) < start) break;
      start -= 1;
    }
    return Math.max(start, this.#notBefore);
  }
}
