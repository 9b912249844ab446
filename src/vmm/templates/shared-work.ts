import { untilAborted } from "../../kit/index.js";

/** Work that several callers wait for and only one does, by key. Work that nobody waits for any more is aborted. */
export class SharedWork<T> implements AsyncDisposable {
  readonly #running = new Map<string, { work: Promise<T>; stop: AbortController; waiting: number }>();

  /** Joins the work of the key, or begins it. Throws the signal's reason at once, whatever the work does then. */
  async join(key: string, signal: AbortSignal, begin: (signal: AbortSignal) => Promise<T>): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      const current = this.#running.get(key);
      if (current?.stop.signal.aborted !== true) return await this.#wait(key, signal, begin);
      // Its last caller left a moment ago; what it holds must be free first.
      await current.work.catch(() => undefined);
    }
  }

  async #wait(key: string, signal: AbortSignal, begin: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const entry = this.#running.get(key) ?? this.#begin(key, begin);
    entry.waiting += 1;
    try {
      return await untilAborted(entry.work, signal);
    } catch (error) {
      // The last one to leave waits until nothing of the work is left.
      if (signal.aborted && entry.waiting === 1) {
        entry.stop.abort(signal.reason);
        await entry.work.catch(() => undefined);
      }
      throw error;
    } finally {
      entry.waiting -= 1;
    }
  }

  #begin(
    key: string,
    begin: (signal: AbortSignal) => Promise<T>,
  ): { work: Promise<T>; stop: AbortController; waiting: number } {
    const stop = new AbortController();
    const work = begin(stop.signal).finally(() => this.#running.delete(key));
    work.catch(() => undefined);
    const entry = { work, stop, waiting: 0 };
    this.#running.set(key, entry);
    return entry;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { stop } of this.#running.values()) stop.abort(new Error("the work was ended"));
    await Promise.allSettled([...this.#running.values()].map(({ work }) => work));
  }
}
