import { untilAborted } from "../kit/index.js";

interface Running<Value, Progress> {
  readonly abort: AbortController;
  readonly listeners: Set<(progress: Progress) => void>;
  readonly result: Promise<Value>;
  latest: Progress | undefined;
  waiting: number;
}

export interface Waiter<Progress> {
  /** Ends this caller's wait; the work itself ends when nobody waits for it any more. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Work that is done once however many ask for it at the same time. */
export class SharedWork<Value, Progress> {
  readonly #running = new Map<string, Running<Value, Progress>>();

  /** The keys of what goes on. */
  keys(): string[] {
    return [...this.#running.keys()];
  }

  /** Starts the work, or waits for that of the same key. */
  async run(
    key: string,
    { signal = NEVER, onProgress }: Waiter<Progress>,
    start: (signal: AbortSignal, onProgress: (progress: Progress) => void) => Promise<Value>,
  ): Promise<Value> {
    signal.throwIfAborted();
    const running = this.#running.get(key);
    if (running === undefined) return await join(this.#start(key, start), signal, onProgress);
    if (!running.abort.signal.aborted) return await join(running, signal, onProgress);
    // Given up by all who waited: its end first, then anew.
    await untilAborted(
      running.result.catch(() => undefined),
      signal,
    );
    return await this.run(key, { signal, onProgress }, start);
  }

  /** Ends all work and waits until nothing of it runs. */
  async close(reason: Error): Promise<void> {
    const all = [...this.#running.values()];
    for (const { abort } of all) abort.abort(reason);
    await Promise.allSettled(all.map(({ result }) => result));
  }

  #start(
    key: string,
    start: (signal: AbortSignal, onProgress: (progress: Progress) => void) => Promise<Value>,
  ): Running<Value, Progress> {
    const abort = new AbortController();
    const listeners = new Set<(progress: Progress) => void>();
    const onProgress = (progress: Progress): void => {
      running.latest = progress;
      for (const listener of listeners) listener(progress);
    };
    // A turn later, so that whoever starts it listens before it says anything.
    const result = Promise.resolve()
      .then(() => start(abort.signal, onProgress))
      .finally(() => this.#running.delete(key));
    // Each waiter handles the outcome; without any it is nobody's.
    result.catch(() => undefined);
    const running: Running<Value, Progress> = { abort, listeners, result, latest: undefined, waiting: 0 };
    this.#running.set(key, running);
    return running;
  }
}

async function join<Value, Progress>(
  running: Running<Value, Progress>,
  signal: AbortSignal,
  onProgress: ((progress: Progress) => void) | undefined,
): Promise<Value> {
  // One of its own for each waiter: the same function may be given twice.
  const listener = (progress: Progress): void => onProgress?.(progress);
  running.listeners.add(listener);
  if (running.latest !== undefined) listener(running.latest);
  running.waiting += 1;
  try {
    return await untilAborted(running.result, signal);
  } finally {
    running.listeners.delete(listener);
    running.waiting -= 1;
    if (running.waiting === 0 && signal.aborted) {
      running.abort.abort(signal.reason);
      await running.result.catch(() => undefined);
    }
  }
}

const NEVER = new AbortController().signal;
