import type { Automaton } from "./automaton.js";
import { Base64Lane, PERCENT, PercentLane } from "./lanes.js";

/** What the values of secrets are looked for with. */
export interface Patterns {
  readonly plain: Automaton;
  readonly base64: Automaton;
  /** Some value holds a space, which may stand as `+` in a URL. */
  readonly hasSpace: boolean;
}

/** Where a scan that another process goes on with has to begin. */
export interface ScanPosition {
  /** Bytes from the beginning of the source that nobody has to read again. */
  readonly taken: number;
  /** Bytes behind those that are known to belong to a secret; undefined: what lies before them does not. */
  readonly covered: number | undefined;
}

/** Takes bytes in order, each once. */
export interface ScanSink {
  clear(data: Uint8Array): void;
  /** Bytes of secrets; `begins` where those right before are none. */
  covered(data: Uint8Array, begins: boolean): void;
}

interface Interval {
  start: number;
  end: number;
}

/**
 * Tells the bytes of secrets from all others, in a stream that comes in pieces of any size: what comes out does not depend
 * on the pieces. Held back is only what may be the beginning of a secret: at most three times the longest pattern.
 */
export class Scan {
  readonly #percent: PercentLane;
  readonly #plus: PercentLane | undefined;
  readonly #base64: Base64Lane;
  #plainState = 0;
  /** Where the bytes that are held back begin, and where the next one comes. */
  #base: number;
  #end: number;
  #held: Uint8Array = new Uint8Array();
  /** Found, in order, apart from each other; none begins before `#base`. */
  #intervals: Interval[] = [];
  /** Where the last bytes of a secret that were handed on end. */
  #coveredTo = -1;

  constructor(
    private readonly patterns: Patterns,
    private readonly sink: ScanSink,
    from: ScanPosition = { taken: 0, covered: undefined },
  ) {
    const { plain, base64, hasSpace } = patterns;
    this.#percent = new PercentLane(plain, false);
    this.#plus = hasSpace ? new PercentLane(plain, true) : undefined;
    this.#base64 = new Base64Lane(base64);
    this.#base = from.taken;
    this.#end = from.taken;
    if (from.covered === undefined) return;
    this.#coveredTo = from.taken;
    if (from.covered > 0) this.#intervals = [{ start: from.taken, end: from.taken + from.covered }];
  }

  get position(): ScanPosition {
    const taken = this.#base;
    if (this.#coveredTo !== taken) return { taken, covered: undefined };
    const [first] = this.#intervals;
    return { taken, covered: first?.start === taken ? first.end - taken : 0 };
  }

  /** Whether a secret was found that is not handed on yet. */
  get hasFound(): boolean {
    return this.#intervals.length > 0;
  }

  /** How many of the last bytes may be the beginning of a secret, whether they were handed on or not. */
  get openBytes(): number {
    return this.#end - this.#openAt();
  }

  push(data: Uint8Array): void {
    const at = this.#end;
    this.#read(data, at);
    this.#end = at + data.length;
    this.#held = this.#held.length === 0 ? data : Buffer.concat([this.#held, data]);
    this.#handOn(Math.max(this.#base, this.#openAt()));
    // What is kept must not change when the caller uses its buffer again.
    this.#held = Uint8Array.prototype.slice.call(this.#held);
  }

  /** No more comes: what was held back is no secret. */
  end(): void {
    this.#handOn(this.#end);
  }

  #read(data: Uint8Array, start: number): void {
    const { plain } = this.patterns;
    const found = (from: number, to: number): void => this.#cover(from, to);
    const [percent, plus, base64] = [this.#percent, this.#plus, this.#base64];
    let state = this.#plainState;
    for (let index = 0; index < data.length; index++) {
      const byte = data[index] ?? 0;
      const at = start + index;
      if (byte === PERCENT || !percent.isIdle) percent.take(byte, at, state, found);
      if (plus !== undefined) plus.take(byte, at, state, found);
      base64.take(byte, at, found);
      state = plain.step(state, byte);
      const length = plain.found(state);
      if (length > 0) this.#cover(at + 1 - length, at + 1);
    }
    this.#plainState = state;
  }

  /** Joins what overlaps or touches; matches come in the order of their ends, nearly. */
  #cover(from: number, to: number): void {
    let [start, end] = [from, to];
    for (
      let last = this.#intervals.at(-1);
      last !== undefined && last.end >= start;
      last = this.#intervals.at(-1)
    ) {
      start = Math.min(start, last.start);
      end = Math.max(end, last.end);
      this.#intervals.pop();
    }
    // What was handed on before its match was complete (a line's end) stays as it was.
    this.#intervals.push({ start: Math.max(start, this.#base), end });
  }

  #openAt(): number {
    const plain = this.#end - this.patterns.plain.open(this.#plainState);
    const percent = this.#percent.openFrom(plain);
    const plus = this.#plus?.openFrom(plain) ?? plain;
    return Math.min(plain, percent, plus, this.#base64.openFrom(this.#end));
  }

  /** Hands on what lies before `to`. */
  #handOn(to: number): void {
    const offset = this.#base;
    const part = (from: number, end: number): Uint8Array => this.#held.subarray(from - offset, end - offset);
    let at = offset;
    for (
      let first = this.#intervals[0];
      first !== undefined && first.start < to;
      first = this.#intervals[0]
    ) {
      if (first.start > at) this.sink.clear(part(at, first.start));
      at = Math.min(first.end, to);
      this.sink.covered(part(first.start, at), first.start !== this.#coveredTo);
      this.#coveredTo = at;
      if (first.end > to) first.start = to;
      else this.#intervals.shift();
    }
    if (at < to) this.sink.clear(part(at, to));
    this.#base = to;
    this.#held = this.#held.subarray(to - offset);
  }
}
