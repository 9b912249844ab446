/**
 * What crosses a process boundary: generated messages, error codes, limits. Imports nothing of ours.
 */
export { ERROR_CODES, isErrorCode, type ErrorCode } from "./codes.js";
export { PyroError, fromWire, type PyroErrorOptions } from "./error.js";
export { LIMITS } from "./limits.js";
