import { PyroError } from "../protocol/index.js";
import type { Readiness } from "./machine-services.js";

/** What is asked for; 0 stands for the default. */
export type ReadinessRequest = Readiness;

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_INTERVAL_MS = 500;
const TIMEOUT_MAX_MS = 3600_000;
const INTERVAL_MIN_MS = 10;
const INTERVAL_MAX_MS = 60_000;
const VALUE_MAX = 4096;

/**
 * The readiness of a service, proven before anything is started.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function checkReadiness({ type, value, timeoutMs, intervalMs }: ReadinessRequest): Readiness {
  if (value === "" || value.length > VALUE_MAX || value.includes("\0")) {
    throw invalid(type, value, `give 1 to ${VALUE_MAX} characters without NUL`);
  }
  if (type === "tcp") checkAddress(value);
  if (type === "http") checkUrl(value);
  return {
    ...{ type, value },
    timeoutMs: bounded("ready_timeout_seconds", timeoutMs || DEFAULT_TIMEOUT_MS, 1, TIMEOUT_MAX_MS),
    intervalMs: bounded(
      "ready_interval_ms",
      intervalMs || DEFAULT_INTERVAL_MS,
      INTERVAL_MIN_MS,
      INTERVAL_MAX_MS,
    ),
  };
}

function checkAddress(value: string): void {
  const [, port] = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):(\d{1,5})$/.exec(value) ?? [];
  if (port === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw invalid("tcp", value, "write host:port or :port, for example localhost:8000");
  }
}

function checkUrl(value: string): void {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url?.protocol === "https:") {
    throw invalid(
      "http",
      value,
      "https is not spoken: check the port with tcp, or use a command such as curl",
    );
  }
  if (url?.protocol !== "http:" || url.hostname === "" || url.username !== "" || url.password !== "") {
    throw invalid("http", value, "write http://host:port/path, for example http://localhost:8000/");
  }
}

function bounded(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new PyroError("INVALID_ARGUMENT", `${name} is out of bounds: ${value} ms`, {
    hint: `give ${min} to ${max} ms`,
  });
}

function invalid(type: string, value: string, hint: string): PyroError {
  return new PyroError(
    "INVALID_ARGUMENT",
    `the ${type} readiness cannot be ${JSON.stringify(value.slice(0, 80))}`,
    { hint },
  );
}
