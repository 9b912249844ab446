import { PyroError } from "../../protocol/index.js";

/** A failure as a model reads it: what failed, and what to do about it. */
export function wordsOf(thrown: unknown): string {
  const { code, message, hint } = PyroError.from(thrown);
  return `${code}: ${message}${hint === "" ? "" : `\nhint: ${hint}`}`;
}
