import type { SavedMachine } from "../driver.js";
import type { Holder } from "../memory/holder.js";

/**
 * So many templates are in memory at once. Each occupies what a fresh machine uses of its memory, 75 to 105 MB; more
 * shapes than this are rarely in use on one host, and to take one in again costs 0.14 s.
 */
export const HELD_MAX = 4;

/**
 * A template that machines of its shape are restored from: `saved` goes into `StartOptions.restore`. It stays in
 * memory until it is disposed of: from then on its files may vanish, which a machine that has started does not mind.
 */
export interface Template extends Disposable {
  readonly key: string;
  /** What machines that started from it are saved as: the key of the shape with nothing mounted. */
  readonly savedAs: string;
  readonly saved: SavedMachine;
  /** What the root's layer of each machine begins with, where an environment is mounted. */
  readonly layer: Buffer | undefined;
  /** What it occupies, on the disk and once more in memory. */
  readonly usedBytes: number;
  /** What making it took, whenever that was. */
  readonly buildMs: number;
  /** Whether this daemon made it just now. */
  readonly fresh: boolean;
}

/** A template in memory, lent to those who start machines from it. */
export interface HeldTemplate {
  readonly key: string;
  readonly savedAs: string;
  readonly usedBytes: number;
  readonly buildMs: number;
  readonly holder: Holder;
  readonly layer: Buffer | undefined;
}

interface Entry {
  readonly held: HeldTemplate;
  lent: number;
  usedAtMs: number;
  /** Another has its key, or nobody may have it any more: it goes when the last one gives it back. */
  retired: boolean;
  closing: Promise<void> | undefined;
}

/**
 * The templates in memory: at most HELD_MAX, unless more are lent at once. The least recently used goes first; what is
 * lent never goes, nor does the last one that was used or taken in, which somebody is about to have.
 */
export class HeldTemplates implements AsyncDisposable {
  /** By key; the least recently used first. */
  readonly #current = new Map<string, Entry>();
  /** Also those that were retired and are still lent, and those that are closing. */
  readonly #all = new Set<Entry>();

  /** `onLetGo` is told when a template leaves memory, and when it was last used. */
  constructor(private readonly onLetGo: (key: string, usedAtMs: number) => Promise<void>) {}

  /** The template of the key whose holder lives. */
  find(key: string): HeldTemplate | undefined {
    const entry = this.#current.get(key);
    return entry?.held.holder.alive === true ? entry.held : undefined;
  }

  /** Whether what was lent is still the template of its key: no other has its place, and nobody gave it up. */
  holds({ key, saved }: Template): boolean {
    return this.#current.get(key)?.held.holder.saved === saved;
  }

  /** When the template of the key was last lent, if it is in memory. */
  usedAtMs(key: string): number | undefined {
    return this.#current.get(key)?.usedAtMs;
  }

  /** Takes a template in, in place of another of its key. */
  keep(held: HeldTemplate): void {
    void this.retire(held.key);
    const entry = { held, lent: 0, usedAtMs: Date.now(), retired: false, closing: undefined };
    this.#current.set(held.key, entry);
    this.#all.add(entry);
    this.#trim();
  }

  /** Lends a template; undefined when it was let go since it was found or kept. */
  lend(held: HeldTemplate, fresh: boolean): Template | undefined {
    const entry = this.#current.get(held.key);
    if (entry?.held !== held) return undefined;
    entry.lent += 1;
    entry.usedAtMs = Date.now();
    this.#current.delete(held.key);
    this.#current.set(held.key, entry);
    let lent = true;
    return {
      ...{ key: held.key, savedAs: held.savedAs, usedBytes: held.usedBytes, buildMs: held.buildMs },
      ...{ saved: held.holder.saved, layer: held.layer, fresh },
      [Symbol.dispose]: () => {
        if (!lent) return;
        lent = false;
        entry.lent -= 1;
        if (entry.retired && entry.lent === 0) void this.#letGo(entry);
        this.#trim();
      },
    };
  }

  /** Lends the template of the key to nobody any more. Resolves when it is gone, or at once where it is still lent. */
  async retire(key: string): Promise<void> {
    const entry = this.#current.get(key);
    if (entry === undefined) return;
    this.#current.delete(key);
    entry.retired = true;
    if (entry.lent === 0) await this.#letGo(entry);
  }

  /** Ends all holders, also of what is lent: those who have it are about to end as well. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all].map((entry) => this.#letGo(entry)));
  }

  #trim(): void {
    const idle = [...this.#current.values()].slice(0, -1).filter(({ lent }) => lent === 0);
    const surplus = Math.max(0, this.#current.size - HELD_MAX);
    for (const { held } of idle.slice(0, surplus)) void this.retire(held.key);
  }

  #letGo(entry: Entry): Promise<void> {
    const { key, holder } = entry.held;
    if (this.#current.get(key) === entry) this.#current.delete(key);
    return (entry.closing ??= (async () => {
      try {
        await this.onLetGo(key, entry.usedAtMs);
        await holder[Symbol.asyncDispose]();
      } finally {
        this.#all.delete(entry);
      }
    })());
  }
}
