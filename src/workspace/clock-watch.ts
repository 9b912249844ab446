/** A step that is more than a wall clock's slow corrections. */
const STEP_MS = 1_000;

/**
 * Tells when the host's wall clock was set, or stood still in a suspend: it went another way than time did. Ages that are
 * reckoned by it are doubtful right after that, and guests have the old time.
 */
export class ClockWatch {
  #wallMs: number;
  #passedMs: number;
  #steadySinceMs: number;

  constructor(
    private readonly wall: () => number,
    private readonly passed: () => number = () => performance.now(),
  ) {
    this.#wallMs = wall();
    this.#passedMs = passed();
    this.#steadySinceMs = this.#passedMs;
  }

  /** How far it was set since the last look, in milliseconds; 0 where it was not. */
  look(): number {
    const wallMs = this.wall();
    const passedMs = this.passed();
    const stepMs = wallMs - this.#wallMs - (passedMs - this.#passedMs);
    this.#wallMs = wallMs;
    this.#passedMs = passedMs;
    if (Math.abs(stepMs) <= STEP_MS) return 0;
    this.#steadySinceMs = passedMs;
    return stepMs;
  }

  /** How long it has gone as time does, as far as is known. */
  get steadyMs(): number {
    return this.passed() - this.#steadySinceMs;
  }
}
