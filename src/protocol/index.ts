/**
 * What crosses a process boundary: generated messages, error codes, limits. Imports nothing of ours.
 */
export { checkCommand, checkPath, type GuestBytes } from "./arguments.js";
export { ERROR_CODES, isErrorCode, type ErrorCode } from "./codes.js";
export { PyroError, fromWire, type PyroErrorOptions } from "./error.js";
export { DEFAULT_MACHINE, LIMITS } from "./limits.js";
