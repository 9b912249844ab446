const NONE = 0;

/** Entries of a table of all transitions, 4 bytes each; larger automata walk their failure links instead. */
const TABLE_ENTRIES = 2 * 1024 * 1024;

/**
 * Finds all of many patterns in one pass (Aho-Corasick). A state is a number, 0 before anything; whoever scans keeps it.
 * Time is linear in the text whatever the patterns are; memory is 25 bytes per byte of pattern, and a table of 8 MiB at most.
 */
export class Automaton {
  /** Length of the longest pattern. */
  readonly longestPattern: number;
  readonly #root = new Int32Array(256);
  readonly #byte: Uint8Array;
  readonly #child: Int32Array;
  readonly #sibling: Int32Array;
  readonly #fail: Int32Array;
  readonly #depth: Int32Array;
  readonly #found: Int32Array;
  readonly #open: Int32Array;
  /** Next state by state and class of byte; undefined where that would be too large. */
  #table: Int32Array | undefined;
  /** Bytes that no pattern holds have one class together, 0. */
  readonly #class = new Uint8Array(256);
  #classes = 1;
  #states = 1;

  constructor(patterns: readonly Uint8Array[]) {
    const room = 1 + patterns.reduce((sum, pattern) => sum + pattern.length, 0);
    this.longestPattern = patterns.reduce((most, { length }) => Math.max(most, length), 0);
    this.#byte = new Uint8Array(room);
    this.#child = new Int32Array(room);
    this.#sibling = new Int32Array(room);
    this.#fail = new Int32Array(room);
    this.#depth = new Int32Array(room);
    this.#found = new Int32Array(room);
    this.#open = new Int32Array(room);
    for (const pattern of patterns) this.#add(pattern);
    this.#table = this.#tabulate(this.#link());
  }

  get isEmpty(): boolean {
    return this.#states === 1;
  }

  /** The state after one more byte. */
  step(state: number, byte: number): number {
    const table = this.#table;
    if (table !== undefined) return table[state * this.#classes + (this.#class[byte] ?? 0)] ?? 0;
    return this.#walk(state, byte);
  }

  #walk(state: number, byte: number): number {
    for (let at = state; at !== 0; at = this.#fail[at] ?? 0) {
      const next = this.#childOf(at, byte);
      if (next !== NONE) return next;
    }
    return this.#root[byte] ?? 0;
  }

  /** Length of the longest pattern that ends here, or 0. */
  found(state: number): number {
    return this.#found[state] ?? 0;
  }

  /** How many of the last bytes may be the beginning of a pattern that is not there yet. */
  open(state: number): number {
    return this.#open[state] ?? 0;
  }

  /** How many of the last bytes the state knows. */
  depth(state: number): number {
    return this.#depth[state] ?? 0;
  }

  #childOf(state: number, byte: number): number {
    if (state === 0) return this.#root[byte] ?? NONE;
    let next = this.#child[state] ?? NONE;
    while (next !== NONE && this.#byte[next] !== byte) next = this.#sibling[next] ?? NONE;
    return next;
  }

  #add(pattern: Uint8Array): void {
    let state = 0;
    for (const byte of pattern) {
      let next = this.#childOf(state, byte);
      if (next === NONE) {
        next = this.#states++;
        this.#byte[next] = byte;
        this.#depth[next] = (this.#depth[state] ?? 0) + 1;
        if (state === 0) this.#root[byte] = next;
        this.#sibling[next] = this.#child[state] ?? NONE;
        this.#child[state] = next;
      }
      state = next;
    }
    if (state !== 0) this.#found[state] = pattern.length;
  }

  /** In order of depth: where a state goes on when no pattern does, and what that implies for the longer one. */
  #link(): Int32Array {
    const queue = new Int32Array(this.#states);
    let end = 1;
    for (let at = 0; at < end; at++) {
      const state = queue[at] ?? 0;
      for (let next = this.#child[state] ?? NONE; next !== NONE; next = this.#sibling[next] ?? NONE) {
        const fail = state === 0 ? 0 : this.#walk(this.#fail[state] ?? 0, this.#byte[next] ?? 0);
        this.#fail[next] = fail;
        this.#found[next] = Math.max(this.#found[next] ?? 0, this.#found[fail] ?? 0);
        // What no pattern goes on from is open only as far as its end is the beginning of another.
        this.#open[next] = this.#child[next] === NONE ? (this.#open[fail] ?? 0) : (this.#depth[next] ?? 0);
        queue[end++] = next;
      }
    }
    return queue;
  }

  /** States in order of depth: what a state does not go on with is in the row of where it falls back to. */
  #tabulate(order: Int32Array): Int32Array | undefined {
    const bytes = [...new Set(this.#byte.subarray(1, this.#states))];
    const classes = bytes.length + 1;
    if (classes * this.#states > TABLE_ENTRIES || classes > 255) return undefined;
    this.#classes = classes;
    bytes.forEach((byte, index) => (this.#class[byte] = index + 1));
    const table = new Int32Array(classes * this.#states);
    for (const state of order) {
      const fail = this.#fail[state] ?? 0;
      if (state !== 0) table.copyWithin(state * classes, fail * classes, (fail + 1) * classes);
      for (let next = this.#child[state] ?? NONE; next !== NONE; next = this.#sibling[next] ?? NONE)
        table[state * classes + (this.#class[this.#byte[next] ?? 0] ?? 0)] = next;
    }
    return table;
  }
}
