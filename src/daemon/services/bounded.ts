import { PyroError } from "../../protocol/index.js";

/**
 * A number of a request, within its bounds.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function bounded(name: string, value: number, min: number, max: number): number {
  if (value >= min && value <= max) return value;
  throw new PyroError("INVALID_ARGUMENT", `${name} is ${value}`, {
    hint: `give a number from ${min} to ${max}`,
  });
}
