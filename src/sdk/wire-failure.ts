import { Code, ConnectError } from "@connectrpc/connect";

// What reads errors of the Connect protocol is loaded when there is one.

/** What no daemon sends. */
export function violation(what: string): ConnectError {
  return new ConnectError(`the daemon sent ${what}`, Code.Internal);
}

/** The daemon is gone, or left the call. */
export function lost(reason: string, cause?: unknown): ConnectError {
  return new ConnectError(reason, Code.Unavailable, undefined, undefined, cause);
}

/** The error of an answer that is none, by its body, else by its status. */
export async function errorOfAnswer(status: number, body: Uint8Array): Promise<ConnectError> {
  const { codeFromHttpStatus, errorFromJsonBytes } = await import("@connectrpc/connect/protocol-connect");
  const known = new ConnectError(`HTTP ${status}`, codeFromHttpStatus(status));
  try {
    return errorFromJsonBytes(body, undefined, known);
  } catch {
    return known;
  }
}

/** The error that the end of a stream tells, if it tells one. */
export async function errorAtEnd(end: Buffer): Promise<ConnectError | undefined> {
  if (end.toString("latin1") === "{}") return undefined;
  const { endStreamFromJson } = await import("@connectrpc/connect/protocol-connect");
  return endStreamFromJson(end).error;
}
