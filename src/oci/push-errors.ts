import * as z from "zod";
import { LIMITS, PyroError } from "../protocol/index.js";
import { protocolError, statusError, unauthorized } from "./registry-errors.js";
import { readAll, type HttpAnswer } from "./transport.js";

/** The codes of the distribution specification ("Error Codes"); of a registry's own words nothing else is taken over. */
const CODES = [
  "BLOB_UNKNOWN",
  "BLOB_UPLOAD_INVALID",
  "BLOB_UPLOAD_UNKNOWN",
  "DIGEST_INVALID",
  "MANIFEST_BLOB_UNKNOWN",
  "MANIFEST_INVALID",
  "MANIFEST_UNKNOWN",
  "NAME_INVALID",
  "NAME_UNKNOWN",
  "SIZE_INVALID",
  "UNAUTHORIZED",
  "DENIED",
  "UNSUPPORTED",
  "TAG_INVALID",
] as const;
type RegistryCode = (typeof CODES)[number];

const schema = z.object({ errors: z.array(z.object({ code: z.string() })) });

/** What is being pushed, for messages. */
export interface Pushing {
  readonly registry: string;
  /** "team/tool:1" */
  readonly image: string;
  /** "a layer", "the manifest". */
  readonly part: string;
  readonly sizeBytes: number;
}

/** The error of an answer to a push that is no success; reads the answer to its end. */
export async function pushError(
  pushing: Pushing,
  answer: HttpAnswer,
  url: URL,
  signal: AbortSignal,
): Promise<PyroError> {
  const codes = await codesOf(answer, url, signal);
  const { registry, image, part, sizeBytes } = pushing;
  const { status } = answer;
  const said = `${registry} answered ${status} for ${part} of ${image}`;
  const details = { registry, image, status, codes };
  const has = (...any: RegistryCode[]): boolean => any.some((code) => codes.includes(code));
  const error = (code: Refusal, why: string, hint: string): PyroError =>
    new PyroError(code, `${said}: ${why}`, { hint, details: { ...details, size_bytes: sizeBytes } });

  if (status === 401) return unauthorized(registry, "it wants a login that may push", false);
  if (status === 403) {
    return error(
      "REGISTRY_FORBIDDEN",
      "the login may not push there",
      `check that the name is one of yours, and its quota; else log in by \`podman login ${registry}\` or \`docker login ${registry}\``,
    );
  }
  if (status === 413) {
    return error(
      "REGISTRY_TOO_LARGE",
      `it takes none of ${sizeBytes} bytes`,
      "make the environment smaller, or let the registry, or the proxy before it, take larger bodies",
    );
  }
  if (status === 412 || status === 507) {
    return error(
      "REGISTRY_QUOTA_EXCEEDED",
      "it has no more room for this, or a rule against it",
      "remove images there that nobody needs, or push to another repository",
    );
  }
  if (status === 405 || has("UNSUPPORTED")) {
    return error(
      "REGISTRY_READ_ONLY",
      "it takes no pushes",
      "name a registry that does; one that is only a cache of another never does",
    );
  }
  if (has("NAME_INVALID", "TAG_INVALID")) {
    return refused("it does not take that name", `names there may need an owner: ${registry}/OWNER/NAME:TAG`);
  }
  if (has("NAME_UNKNOWN")) return refused("it has no such repository", "make the repository there first");
  if (status === 409) return refused("what is there may not be changed", "push under another tag");
  if (has("MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID")) {
    return refused(
      "it does not take the image's manifest",
      "push again; if it stays so, the registry does not know OCI images: update it",
    );
  }
  if (has("DIGEST_INVALID", "SIZE_INVALID")) {
    return new PyroError("BLOB_DIGEST_MISMATCH", `${said}: what arrived there is not what was sent`, {
      hint: "try again; if it stays so, look at what is between this host and the registry",
      details,
      retryable: true,
    });
  }
  if (has("BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN") || status === 404 || status === 416) {
    return new PyroError("REGISTRY_FAILED", `${said}: it does not know the upload any more`, {
      hint: "try again",
      details,
      retryable: true,
    });
  }
  if (status === 408 || status === 429 || status >= 500) return statusError(registry, image, answer);
  return protocolError(registry, `it answered ${status} for ${part} of ${image}`);

  function refused(why: string, hint: string): PyroError {
    return error("REGISTRY_PUSH_REFUSED", why, hint);
  }
}

type Refusal =
  | "REGISTRY_FORBIDDEN"
  | "REGISTRY_TOO_LARGE"
  | "REGISTRY_QUOTA_EXCEEDED"
  | "REGISTRY_READ_ONLY"
  | "REGISTRY_PUSH_REFUSED";

async function codesOf(answer: HttpAnswer, url: URL, signal: AbortSignal): Promise<RegistryCode[]> {
  const bytes = await readAll(answer, url, LIMITS.registryErrorBytes, signal).catch(() => undefined);
  signal.throwIfAborted();
  try {
    const { errors } = schema.parse(JSON.parse(bytes?.toString("utf8") ?? ""));
    return CODES.filter((code) => errors.some((error) => error.code === code));
  } catch {
    return [];
  }
}
