import { LIMITS, PyroError, fromWire } from "../protocol/index.js";
import type { ErrorDetail } from "../protocol/gen/pyro/daemon/v1/error_pb.js";
import { WireFailure } from "./wire-failure.js";

/** What every call takes. */
export interface CallOptions {
  /** Ends the call; what it started for this call alone ends with it. Rejects with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
  /** Bounds the client's call, in milliseconds; not the guest's command. Rejects with DEADLINE_EXCEEDED. */
  readonly timeoutMs?: number | undefined;
}

/** One call's life: a signal that fires on the caller's abort or deadline, and the error that then is the right one. */
export interface CallScope extends Disposable {
  readonly signal: AbortSignal;
  /** Aborts the call from inside: an iterator was left, or its source of input failed. */
  abort(reason: PyroError): void;
  /** The error to throw for what the call threw. */
  error(thrown: unknown): PyroError;
}

/** Opens the scope of one call. */
export function callScope(what: string, options: CallOptions): CallScope {
  const controller = new AbortController();
  const abort = (reason: PyroError): void => controller.abort(reason);
  const { signal, timeoutMs } = options;
  const onAbort = (): void => abort(cancelled(what, signal?.reason));
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });
  const timer =
    timeoutMs === undefined ? undefined : setTimeout(() => abort(exceeded(what, timeoutMs)), timeoutMs);
  return {
    signal: controller.signal,
    abort,
    error: (thrown) =>
      controller.signal.aborted ? (controller.signal.reason as PyroError) : wireError(thrown),
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      // A stream that its caller left would stay open, and keep this process alive.
      abort(new PyroError("CANCELLED", `${what} is over`));
    },
  };
}

function cancelled(what: string, cause: unknown): PyroError {
  if (cause instanceof PyroError) return cause;
  return new PyroError("CANCELLED", `${what} was cancelled`, { retryable: true, cause });
}

function exceeded(what: string, timeoutMs: number): PyroError {
  return new PyroError("DEADLINE_EXCEEDED", `${what} took longer than ${timeoutMs} ms`, {
    hint: "give the call a larger timeoutMs, or see `pyro daemon status` for what the daemon does",
    details: { timeout_ms: timeoutMs },
    retryable: true,
  });
}

/** Codes of the wire for a daemon that went away, or does not speak as it should. */
const LOST: readonly string[] = ["unavailable", "aborted", "canceled", "unknown", "internal"];

/** An error of the wire with the code, hint and details that the daemon gave it. */
export function wireError(thrown: unknown): PyroError {
  if (thrown instanceof PyroError) return thrown;
  if (!(thrown instanceof WireFailure)) {
    return isConnectionLoss(thrown) ? unreachable(thrown) : PyroError.from(thrown);
  }
  if (thrown.detail !== undefined) return fromDetail(thrown.detail, thrown);
  if (thrown.code === "unimplemented") {
    return new PyroError("INTERNAL", `the running daemon does not know this call: ${thrown.message}`, {
      hint: "it is of another version: run `pyro daemon stop`, then try again",
      cause: thrown,
    });
  }
  return LOST.includes(thrown.code) ? unreachable(thrown) : PyroError.from(thrown);
}

/** A detail message as an error; the details are bounded and must be a JSON object, or they are dropped. */
export function fromDetail(detail: ErrorDetail, cause?: unknown): PyroError {
  return fromWire(detail.code, detail.message, {
    hint: detail.hint,
    details: parseDetails(detail.detailsJson),
    retryable: detail.retryable,
    cause,
  });
}

function parseDetails(json: string): Record<string, unknown> {
  if (json === "" || json.length > LIMITS.errorDetailsBytes) return {};
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
  } catch {
    return {};
  }
}

/** The daemon went away, or does not answer. */
export function unreachable(cause: unknown): PyroError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new PyroError("DAEMON_UNREACHABLE", `the connection to the pyro daemon was lost: ${reason}`, {
    hint: "try again (a new daemon is started by itself); `pyro daemon logs` shows what happened",
    retryable: true,
    cause,
  });
}

function isConnectionLoss(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  const code = (thrown as NodeJS.ErrnoException).code ?? "";
  return ["ECONNRESET", "EPIPE", "ECONNREFUSED", "ENOENT"].includes(code) || code.startsWith("ERR_HTTP2_");
}
