import { sleep } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";

export interface RetryOptions {
  /** Tries in all; default LIMITS.registryAttempts. */
  readonly attempts?: number;
  /** First wait; default LIMITS.registryRetryMs. */
  readonly firstMs?: number;
  /** 0 to 1; default Math.random. */
  readonly random?: () => number;
  /** Told of each wait, so that somebody who looks on knows why nothing happens. */
  readonly onWait?: (waitMs: number, because: PyroError) => void;
}

/** Decides whether what failed is tried again, and waits until then. One for each thing that is fetched. */
export class Retries {
  #failed = 0;

  constructor(
    private readonly options: RetryOptions,
    private readonly signal: AbortSignal,
  ) {}

  /** What is fetched got on: earlier failures do not count any more. */
  gotOn(): void {
    this.#failed = 0;
  }

  /** Returns when it is time for another try. @throws the error where there is to be none */
  async after(error: unknown): Promise<void> {
    this.signal.throwIfAborted();
    if (!(error instanceof PyroError) || !error.retryable) throw error;
    this.#failed += 1;
    if (this.#failed >= (this.options.attempts ?? LIMITS.registryAttempts)) throw error;
    const waitMs = this.#waitMs(error);
    if (waitMs === undefined) throw error;
    this.options.onWait?.(waitMs, error);
    await sleep(waitMs, this.signal);
  }

  /** At least what the registry asks for; undefined where that is too long to wait. Random, so that not all come back at once. */
  #waitMs({ details }: PyroError): number | undefined {
    const { firstMs = LIMITS.registryRetryMs, random = Math.random } = this.options;
    const drawn = Math.round(random() * firstMs * 2 ** (this.#failed - 1));
    const asked = details["retry_after_seconds"];
    if (typeof asked !== "number") return drawn;
    const askedMs = asked * 1000;
    return askedMs > LIMITS.registryRetryAfterMs ? undefined : askedMs + drawn;
  }
}

/** Tries until it succeeds, or is not to be tried any more. */
export async function retried<T>(
  options: RetryOptions,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> {
  const retries = new Retries(options, signal);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      await retries.after(error);
    }
  }
}

/** Whole seconds of a Retry-After header, from now (RFC 9110 section 10.2.3: seconds, or a date); undefined for none. */
export function retryAfterSeconds(value: string | undefined, now = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text);
  // Only the date that HTTP writes today: Date.parse takes almost anything for one.
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - now) / 1000));
}
