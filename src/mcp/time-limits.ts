const REMEMBERED_MAX = 1000;

/** Time limits of the commands that this server started, for the words of their results. */
export class TimeLimits {
  readonly #seconds = new Map<string, number>();

  remember(command: string, seconds: number): void {
    this.#seconds.set(command, seconds);
    const [oldest] = this.#seconds.keys();
    if (this.#seconds.size > REMEMBERED_MAX && oldest !== undefined) this.#seconds.delete(oldest);
  }

  /** In seconds; undefined where another server started it. */
  of(command: string): number | undefined {
    return this.#seconds.get(command);
  }
}
