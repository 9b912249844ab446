import { UsageError } from "./failure.js";

/**
 * NAME=VALUE in two.
 * @throws {UsageError}
 */
export function splitPair(text: string, flag: string, hint: string): [string, string] {
  const at = text.indexOf("=");
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new UsageError(`${flag} ${JSON.stringify(text)} is not NAME=VALUE`, hint);
}
