/** Which images running machines lie on: those files stay, whatever is pruned or made anew. */
export class ImagesInUse {
  readonly #counts = new Map<string, number>();

  get digests(): ReadonlySet<string> {
    return new Set(this.#counts.keys());
  }

  /** Keeps the image until the result is disposed of. */
  hold(digest: string): Disposable {
    this.#counts.set(digest, (this.#counts.get(digest) ?? 0) + 1);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        const rest = (this.#counts.get(digest) ?? 0) - 1;
        if (rest > 0) this.#counts.set(digest, rest);
        else this.#counts.delete(digest);
      },
    };
  }
}
