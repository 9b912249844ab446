type Enter = () => void;

/** Bounds how many holders run at once; the rest queue in order of arrival. */
export class Slots {
  #free: number;
  readonly #waiting: Enter[] = [];
  readonly #ahead: Enter[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Holders that wait now. */
  get queued(): number {
    return this.#waiting.length + this.#ahead.length;
  }

  /** Waits for a slot; dispose of it to give it back. Throws the signal's reason when aborted while waiting. */
  async take(signal?: AbortSignal): Promise<Disposable> {
    return await this.#take(this.#waiting, signal);
  }

  /** The same before all others, for the rest of what had a slot already: what was begun ends before more is begun. */
  async takeAhead(signal?: AbortSignal): Promise<Disposable> {
    return await this.#take(this.#ahead, signal);
  }

  async #take(queue: Enter[], signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await wait(queue, signal);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        const next = this.#ahead.shift() ?? this.#waiting.shift();
        if (next === undefined) this.#free += 1;
        else next();
      },
    };
  }
}

function wait(queue: Enter[], signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const enter = (): void => {
      signal?.removeEventListener("abort", leave);
      resolve();
    };
    const leave = (): void => {
      queue.splice(queue.indexOf(enter), 1);
      reject(signal?.reason as Error);
    };
    queue.push(enter);
    signal?.addEventListener("abort", leave, { once: true });
  });
}
