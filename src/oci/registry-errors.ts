import { PyroError, type ErrorCode } from "../protocol/index.js";
import { retryAfterSeconds } from "./retries.js";
import type { HttpAnswer } from "./transport.js";

/**
 * Errors of what a registry answered. Nothing of its own words is in them: a registry may say back what was sent to it.
 */

/** An answer with a status that is no success. `what` is what was asked for: "python:3.12". */
export function statusError(registry: string, what: string, answer: HttpAnswer): PyroError {
  const { status } = answer;
  const said = `${registry} answered ${status} for ${what}`;
  const details = { registry, status };
  const retryAfter = retryAfterSeconds(answer.header("retry-after"));
  const later = retryAfter === undefined ? {} : { retry_after_seconds: retryAfter };
  const wait = retryAfter === undefined ? "in a minute" : `in ${retryAfter} s`;
  if (status === 429) {
    return new PyroError("REGISTRY_RATE_LIMITED", `${said}: too many requests`, {
      hint: `try again ${wait}; logging in (\`podman login ${registry}\`) may allow more`,
      details: { ...details, ...later },
      retryable: true,
    });
  }
  if (status === 408 || status >= 500) {
    return new PyroError("REGISTRY_FAILED", said, {
      hint: `the fault is the registry's: try again ${wait}; what was fetched is kept`,
      details: { ...details, ...later },
      retryable: true,
    });
  }
  if (status === 401) return unauthorized(registry, "it wants a login", false);
  if (status === 403) {
    return new PyroError("REGISTRY_FORBIDDEN", `${said}: the login does not allow it`, {
      hint: loginHint(registry),
      details,
    });
  }
  return protocolError(registry, `it answered ${status} for ${what}`);
}

/** 404: there is none, or it is not shown to whoever asks. */
export function notFound(
  code: Extract<ErrorCode, "IMAGE_NOT_FOUND" | "BLOB_NOT_FOUND">,
  registry: string,
  what: string,
): PyroError {
  return new PyroError(code, `${registry} has no ${what}`, {
    hint: `check the name and the tag; a private one has to be logged in for: \`podman login ${registry}\``,
    details: { registry, wanted: what },
  });
}

/** 401, here or where tokens are given out. */
export function unauthorized(registry: string, problem: string, loggedIn: boolean): PyroError {
  const why = loggedIn ? `: the login of your container configuration was refused` : "";
  return new PyroError("REGISTRY_UNAUTHORIZED", `${registry} does not let us in: ${problem}${why}`, {
    hint: `check the name; ${loginHint(registry)}`,
    details: { registry, logged_in: loggedIn },
  });
}

/** The registry does what its specification does not know. */
export function protocolError(registry: string, problem: string): PyroError {
  return new PyroError(
    "REGISTRY_PROTOCOL_ERROR",
    `${registry} does not answer as a registry does: ${problem}`,
    {
      hint: "check the registry's name and port; it has to speak the OCI distribution API, version 2",
      details: { registry, problem },
    },
  );
}

/** A place that tokens are not asked at. */
export function realmRefused(registry: string, problem: string): PyroError {
  return new PyroError("REGISTRY_REALM_REFUSED", `${registry} wants us to log in elsewhere: ${problem}`, {
    hint: "where that is meant, `pyro daemon stop` forgets the earlier place; else tell the registry's owner",
    details: { registry, problem },
  });
}

/** A redirect that is not followed. */
export function redirectRefused(registry: string, problem: string): PyroError {
  return new PyroError("REGISTRY_REDIRECT_REFUSED", `${registry} sends us on, and we do not go: ${problem}`, {
    hint: "tell the registry's owner; a mirror that serves the image itself can be set in ~/.config/pyro/config.toml",
    details: { registry, problem },
  });
}

function loginHint(registry: string): string {
  return `log in by \`podman login ${registry}\` or \`docker login ${registry}\`, then try again`;
}
