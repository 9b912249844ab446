import { PyroError } from "../../protocol/index.js";
import { throwIfAborted } from "./command.js";

/** Where a model was asked, for the words of an error. */
export interface Asked {
  readonly url: string;
  /** Where the key comes from. */
  readonly key: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * What a client of a model's API threw, told by its status: clients have classes of their own for each, which would have
 * to be imported. No key and no body of a request is in it.
 * @throws {PyroError} CANCELLED where the caller ended it
 */
export function modelError(thrown: unknown, { url, key, signal }: Asked): PyroError {
  throwIfAborted(signal);
  if (thrown instanceof PyroError) return thrown;
  const message = (thrown instanceof Error ? thrown.message : String(thrown)).slice(0, 500);
  const status = (thrown as { status?: unknown } | null)?.status;
  const at = { details: { url, ...(typeof status === "number" ? { status } : {}) }, cause: thrown };
  if (status === 401 || status === 403)
    return new PyroError("MODEL_UNAUTHORIZED", `${url} refuses the key: ${message}`, {
      hint: `check the key: ${key}`,
      ...at,
    });
  if (typeof status === "number" && status >= 400 && status < 500 && status !== 408 && status !== 429)
    return new PyroError("MODEL_ENDPOINT_FAILED", `${url} refuses the request: ${message}`, {
      hint: "check the model's name, the base URL and what the request asks for",
      ...at,
    });
  if (typeof status === "number")
    return new PyroError("MODEL_ENDPOINT_FAILED", `${url} failed: ${message}`, {
      hint: "try again later",
      retryable: true,
      ...at,
    });
  // fetch and the clients that are built on it tell what the system said by the cause.
  const isLost = thrown instanceof Error && thrown.cause !== undefined && !(thrown instanceof SyntaxError);
  return new PyroError(
    isLost ? "MODEL_UNREACHABLE" : "MODEL_ANSWER_INVALID",
    `${url} gave no answer that can be read: ${message}`,
    { hint: "see that the base URL is right, and that something listens there", retryable: true, ...at },
  );
}
