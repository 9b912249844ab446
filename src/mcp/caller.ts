import { SdkError, type ServerContext } from "@modelcontextprotocol/server";

/** Whoever waits for the answer of one call. */
export interface Caller extends Disposable {
  /** Fires when it cancelled, or went away. */
  readonly signal: AbortSignal;
  /** Whether it went away without a word: what it started may be of use to the next one. */
  isGone(): boolean;
}

/**
 * Sessions over HTTP (before 2026-07-28) outlive their connections, and the SDK goes on with a call whose answer nobody
 * gets any more. Here it ends as on standard input: its caller went away, which cancels nothing. Since 2026-07-28 a
 * client closes the connection to cancel.
 */
export function callerOf(context: ServerContext): Caller {
  const { mcpReq, http, sessionId } = context;
  const request = http?.req;
  if (sessionId === undefined || request === undefined)
    return { signal: mcpReq.signal, isGone: () => false, [Symbol.dispose]: () => undefined };
  const either = new AbortController();
  const signals = [mcpReq.signal, request.signal];
  const abort = (): void => either.abort();
  for (const signal of signals) signal.addEventListener("abort", abort, { once: true });
  if (signals.some(({ aborted }) => aborted)) abort();
  return {
    signal: either.signal,
    // The end of its session is no word of cancellation either.
    isGone: () => !mcpReq.signal.aborted || mcpReq.signal.reason instanceof SdkError,
    [Symbol.dispose]: () => {
      // Of the request itself: its signal fires only as long as somebody holds it.
      for (const signal of [mcpReq.signal, request.signal]) signal.removeEventListener("abort", abort);
    },
  };
}
