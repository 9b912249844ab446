/**
 * Knows when the daemon is idle: no call, no machine, nothing in the background, for a while. Then it leaves.
 */
export class Activity implements Disposable {
  #active = 0;
  #timer: NodeJS.Timeout | undefined;

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

  #arm(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.onIdle, this.idleMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
