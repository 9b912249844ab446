import { PyroError } from "../protocol/index.js";

/**
 * Values from a producer to one consumer: `put` resolves when the value was taken, so that a slow consumer holds the
 * producer back. At most one put that waits; puts that nobody awaits are for a handful of small values.
 */
export class Handoff<T> implements AsyncIterable<T> {
  readonly #waiting: { value: T; taken: () => void }[] = [];
  readonly #left = new AbortController();
  #wake: (() => void) | undefined;
  #over: { error?: unknown } | undefined;

  /** Aborts when the consumer stops, at the end or before it. */
  get left(): AbortSignal {
    return this.#left.signal;
  }

  put(value: T): Promise<void> {
    return new Promise((taken) => {
      this.#waiting.push({ value, taken });
      this.#wake?.();
    });
  }

  /** The last value; the consumer ends after it. */
  end(value: T): void {
    void this.put(value);
    this.#over ??= {};
    this.#wake?.();
  }

  /** The consumer throws the error after what was put before. */
  fail(error: unknown): void {
    this.#over ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    try {
      yield* this.#values();
    } finally {
      this.#left.abort(new PyroError("CANCELLED", "the caller left", { hint: "call again" }));
    }
  }

  async *#values(): AsyncGenerator<T> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next !== undefined) {
        yield next.value;
        next.taken();
      } else if (this.#over !== undefined) {
        if ("error" in this.#over) throw this.#over.error;
        return;
      } else {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = undefined;
      }
    }
  }
}
