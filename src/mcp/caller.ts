import { SdkError, type ServerContext } from "@modelcontextprotocol/server";
import { callProgress } from "./progress.js";

/** Whoever waits for the answer of one call. */
export interface Caller {
  /** Fires when it cancelled, or went away. */
  readonly signal: AbortSignal;
  /** Whether it went away without a word: what it started may be of use to the next one. */
  isGone(): boolean;
  /** Tells it what goes on. */
  say(message: string): void;
}

/**
 * Sessions over HTTP (before 2026-07-28) outlive their connections, and the SDK goes on with a call whose answer nobody
 * gets any more. Here it ends as on standard input: its caller went away, which cancels nothing. Since 2026-07-28 a
 * client closes the connection to cancel.
 */
export function callerOf(context: ServerContext): Caller & Disposable {
  const { mcpReq, http, sessionId } = context;
  const request = http?.req;
  const progress = callProgress(context);
  const say = (message: string): void => progress.say(message);
  if (sessionId === undefined || request === undefined)
    return {
      ...{ say, signal: mcpReq.signal, isGone: () => false },
      [Symbol.dispose]: () => progress[Symbol.dispose](),
    };
  const either = new AbortController();
  const signals = [mcpReq.signal, request.signal];
  const abort = (): void => either.abort();
  for (const signal of signals) signal.addEventListener("abort", abort, { once: true });
  if (signals.some(({ aborted }) => aborted)) abort();
  return {
    say,
    signal: either.signal,
    // The end of its session is no word of cancellation either.
    isGone: () => !mcpReq.signal.aborted || mcpReq.signal.reason instanceof SdkError,
    [Symbol.dispose]: () => {
      progress[Symbol.dispose]();
      // Of the request itself: its signal fires only as long as somebody holds it.
      for (const signal of [mcpReq.signal, request.signal]) signal.removeEventListener("abort", abort);
    },
  };
}
