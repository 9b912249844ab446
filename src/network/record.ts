import { LIMITS } from "../protocol/index.js";
import type { NetworkEntry, NetworkTotals } from "./entry.js";
import type { RecordFile } from "./record-file.js";

/** What a new entry is made of. */
export type NewEntry = Omit<NetworkEntry, "sequence" | "atMs" | "bytesUp" | "bytesDown" | "times"> &
  Partial<Pick<NetworkEntry, "bytesUp" | "bytesDown">>;

/** The newest refusal, for a line to the model. */
export interface LastRefusal {
  readonly atMs: number;
  readonly reason: string;
  readonly hint: string;
}

export interface RecordOptions {
  /** Where it outlives the daemon; nothing is written without. */
  readonly file?: RecordFile;
  /** Every text that a guest had a part in passes here. */
  readonly redact?: (text: string) => string;
  readonly now?: () => number;
}

export interface ChangedEntries {
  /** The oldest first. */
  readonly entries: readonly NetworkEntry[];
  readonly generation: number;
}

/** Refusals of the same thing within this time are one entry. */
const SAME_MS = 10_000;
/** Of the newest entries, looked through for the same. */
const SAME_LOOK = 16;

/** What a workspace's machine reached, and what was refused: the newest entries, and totals of all. */
export class NetworkRecord {
  readonly totals: NetworkTotals = {
    connections: 0,
    published: 0,
    refused: 0,
    failed: 0,
    bytesUp: 0,
    bytesDown: 0,
  };
  readonly #entries = new Map<number, NetworkEntry>();
  /** When each entry was made or changed last. */
  readonly #changedAt = new Map<number, number>();
  #generation: number;
  /** Who waits for a change. */
  readonly #waiting = new Set<() => void>();
  #sequence = 0;
  #lastRefusal: LastRefusal | undefined;
  /** Repeated since it was written, so that the file's totals are behind. */
  #unwritten: NetworkEntry | undefined;

  constructor(private readonly options: RecordOptions = {}) {
    // In microseconds: later than all that an earlier daemon counted.
    this.#generation = this.#now() * 1000;
  }

  /** Goes on from what the file says. What was open then was lost with its daemon. */
  static async open(options: RecordOptions): Promise<NetworkRecord> {
    const record = new NetworkRecord(options);
    for (const { entry, totals } of (await options.file?.read()) ?? []) {
      record.#keep(entry);
      Object.assign(record.totals, totals);
      record.#sequence = Math.max(record.#sequence, entry.sequence);
    }
    for (const entry of record.#entries.values()) {
      if (entry.decision === "open")
        record.#keep({ ...entry, decision: "allowed", end: "lost with the daemon" });
    }
    return record;
  }

  /** The newest entries, the oldest of them first. */
  get entries(): readonly NetworkEntry[] {
    return [...this.#entries.values()].sort((one, other) => one.sequence - other.sequence);
  }

  /** Grows with every entry that is made or changed, over daemons too. */
  get generation(): number {
    return this.#generation;
  }

  /** Entries that were made or changed after a generation, and up to which; waits for one until the signal fires. */
  async entriesAfter(generation: number, signal: AbortSignal): Promise<ChangedEntries> {
    if (this.#generation <= generation && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const goOn = (): void => {
          this.#waiting.delete(goOn);
          signal.removeEventListener("abort", goOn);
          resolve();
        };
        this.#waiting.add(goOn);
        signal.addEventListener("abort", goOn);
      });
    }
    const isNew = ({ sequence }: NetworkEntry): boolean => (this.#changedAt.get(sequence) ?? 0) > generation;
    return { entries: this.entries.filter(isNew), generation: this.#generation };
  }

  get lastRefusal(): LastRefusal | undefined {
    return this.#lastRefusal;
  }

  /** Adds one; a repeated refusal becomes part of the one before. */
  add(entry: NewEntry): NetworkEntry {
    const atMs = this.#now();
    const made: NetworkEntry = {
      ...{ sequence: this.#sequence + 1, atMs, bytesUp: 0, bytesDown: 0 },
      ...this.#redacted(entry),
    };
    if (entry.kind === "connection" && entry.decision === "open") this.totals.connections += 1;
    if (entry.kind === "published") this.totals.published += 1;
    this.#count(made);
    const same = made.decision === "refused" ? this.#sameAs(made) : undefined;
    if (same !== undefined) return this.#put({ ...same, times: (same.times ?? 1) + 1 }, false);
    this.#sequence += 1;
    return this.#put(made, true);
  }

  /** What became of an entry that was open. */
  finish(open: NetworkEntry, end: Partial<NewEntry> & Pick<NewEntry, "decision">): void {
    const { totals } = this;
    if (open.kind === "connection") {
      totals.bytesUp += end.bytesUp ?? 0;
      totals.bytesDown += end.bytesDown ?? 0;
    }
    const made = { ...open, ...this.#redacted(end), durationMs: Math.max(0, this.#now() - open.atMs) };
    this.#count(made);
    this.#put(made, true);
  }

  /** Resolves when the file has all. Nobody waits any more. */
  async close(): Promise<void> {
    for (const goOn of [...this.#waiting]) goOn();
    if (this.#unwritten !== undefined) this.#append(this.#unwritten);
    await this.options.file?.close();
  }

  #count(entry: NetworkEntry): void {
    if (entry.decision === "failed") this.totals.failed += 1;
    if (entry.decision !== "refused") return;
    this.totals.refused += 1;
    this.#lastRefusal = { atMs: this.#now(), reason: entry.reason ?? "", hint: entry.hint ?? "" };
  }

  #append(entry: NetworkEntry): void {
    this.#unwritten = undefined;
    this.options.file?.append({ entry, totals: { ...this.totals } });
  }

  #sameAs(made: NetworkEntry): NetworkEntry | undefined {
    const newest = [...this.#entries.values()].slice(-SAME_LOOK);
    const key = (entry: NetworkEntry): string =>
      JSON.stringify([
        entry.kind,
        entry.name,
        entry.address,
        entry.port,
        entry.decision,
        entry.reason,
        entry.openedBy,
      ]);
    return newest.find((entry) => made.atMs - entry.atMs < SAME_MS && key(entry) === key(made));
  }

  #put(entry: NetworkEntry, isWritten: boolean): NetworkEntry {
    this.#keep(entry);
    if (isWritten) this.#append(entry);
    else this.#unwritten = entry;
    for (const goOn of [...this.#waiting]) goOn();
    return entry;
  }

  #keep(entry: NetworkEntry): void {
    this.#entries.set(entry.sequence, entry);
    this.#changedAt.set(entry.sequence, ++this.#generation);
    if (this.#entries.size <= LIMITS.networkEntries) return;
    const oldest = this.#entries.keys().next().value ?? 0;
    this.#entries.delete(oldest);
    this.#changedAt.delete(oldest);
  }

  #redacted<T extends Partial<NewEntry>>(entry: T): T {
    const { redact } = this.options;
    if (redact === undefined) return entry;
    const texts = ["name", "reason", "hint", "openedBy", "end"] as const;
    const clean = texts.flatMap((text) =>
      entry[text] === undefined ? [] : [[text, redact(entry[text])] as const],
    );
    return { ...entry, ...Object.fromEntries(clean) };
  }

  #now(): number {
    return this.options.now?.() ?? Date.now();
  }
}
