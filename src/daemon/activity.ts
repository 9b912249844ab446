import type { Interceptor } from "@connectrpc/connect";

/**
 * Knows when the daemon is idle: no call, no machine, nothing in the background, for a while. Then it leaves, unless
 * something is kept for who comes next.
 */
export class Activity implements Disposable {
  #active = 0;
  #timer: NodeJS.Timeout | undefined;
  #kept: () => boolean = () => false;

  constructor(
    private readonly idleMs: number,
    private readonly onIdle: () => void,
  ) {
    this.#arm();
  }

  /** What goes on now. */
  get active(): number {
    return this.#active;
  }

  /** Holds the daemon until it is disposed of. */
  begin(): Disposable {
    this.#active += 1;
    clearTimeout(this.#timer);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        this.#active -= 1;
        if (this.#active === 0) this.#arm();
      },
    };
  }

  /**
   * Keeps the daemon for as long as this says, asked once per idle time: with a daemon that leaves, what waits for the
   * next call would go too. What is kept has to end by itself.
   */
  keepWhile(kept: () => boolean): void {
    this.#kept = kept;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#kept()) this.#arm();
      else this.onIdle();
    }, this.idleMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** Holds the daemon while a call lasts, to the end of its stream. */
export function countCalls(activity: Activity): Interceptor {
  return (next) => async (request) => {
    const held = activity.begin();
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return { ...response, message: holding(response.message, activity.begin()) };
    } finally {
      held[Symbol.dispose]();
    }
  };
}

async function* holding<T>(messages: AsyncIterable<T>, held: Disposable): AsyncGenerator<T> {
  try {
    yield* messages;
  } finally {
    held[Symbol.dispose]();
  }
}
