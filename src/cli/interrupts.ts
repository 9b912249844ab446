import { PyroError } from "../protocol/index.js";
import type { CliHost } from "./host.js";

/** What the user's signals mean for one command. */
export interface Interrupts extends Disposable {
  /** Fires when the work must end. */
  readonly signal: AbortSignal;
  /** The exit status that a received signal asks for, or undefined. */
  readonly status: () => number | undefined;
}

const STATUS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/**
 * Turns signals into an abort. `onFirst` may take the first Ctrl-C for itself (the guest's own process group gets it)
 * by giving true; the second one ends the work at once.
 */
export function interrupts(
  host: Pick<CliHost, "onSignal">,
  onFirst: () => boolean = () => false,
): Interrupts {
  const controller = new AbortController();
  let status: number | undefined;
  let interruptions = 0;
  const end = (name: keyof typeof STATUS): void => {
    status ??= STATUS[name];
    if (name === "SIGINT" && ++interruptions === 1 && onFirst()) return;
    controller.abort(new PyroError("CANCELLED", `ended by ${name}`, { retryable: true }));
  };
  const handlers = (Object.keys(STATUS) as (keyof typeof STATUS)[]).map((name) =>
    host.onSignal(name, () => end(name)),
  );
  return {
    signal: controller.signal,
    status: () => status,
    [Symbol.dispose]: () => handlers.forEach((handler) => handler[Symbol.dispose]()),
  };
}
