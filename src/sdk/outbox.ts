/**
 * The request side of a bidirectional call: items wait here until the transport takes them, so that its back-pressure
 * reaches the producer, who awaits `put`. Holds one item per producer at most.
 */
export class Outbox<T> implements AsyncIterable<T> {
  readonly #items: { item: T; taken: () => void }[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  /** Resolves once the transport took the item, or at once when the call is over. */
  put(item: T): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => {
      this.#items.push({ item, taken: resolve });
      this.#wake?.();
    });
  }

  /** No more items; whoever still waits is released. */
  end(): void {
    this.#ended = true;
    for (const { taken } of this.#items.splice(0)) taken();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    try {
      for (;;) {
        const next = this.#items.shift();
        if (next !== undefined) {
          next.taken();
          yield next.item;
        } else if (this.#ended) return;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.end();
    }
  }
}
