import * as z from "zod";
import { LIMITS, type PyroError } from "../protocol/index.js";
import type { Credentials } from "./credentials.js";
import { protocolError, statusError, unauthorized } from "./registry-errors.js";
import { discard, readAll, type HttpAnswer, type HttpTransport } from "./transport.js";

export interface TokenRequest {
  /** Checked already. */
  readonly realm: URL;
  /** For messages. */
  readonly registry: string;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
  readonly signal: AbortSignal;
}

export interface Token {
  readonly token: string;
  readonly lifeMs: number;
}

// A header's value: no line break can be smuggled into one.
const value = z
  .string()
  .regex(/^[\x21-\x7e]+$/)
  .max(LIMITS.registryTokenBytes)
  .optional();
const schema = z.object({ token: value, access_token: value, expires_in: z.number().optional() });
const LIFE_MAX_MS = 24 * 3600_000;

/**
 * Asks a realm for a token: by GET, with Basic where the user has a password (distribution, token.md), by POST where they
 * have an identity token (distribution, oauth.md). A redirect is not followed.
 * @throws {PyroError} REGISTRY_UNAUTHORIZED, REGISTRY_PROTOCOL_ERROR, and what a request throws
 */
export async function fetchToken(transport: HttpTransport, request: TokenRequest): Promise<Token> {
  const { realm, registry, credentials, signal } = request;
  const answer = await transport.send(
    credentials?.kind === "identity-token" ? post(request, credentials.token) : get(request, credentials),
  );
  if (answer.status !== 200) {
    await discard(answer);
    throw refusal(registry, realm, answer, credentials !== undefined);
  }
  const body = await readAll(answer, realm, LIMITS.registryTokenBytes, signal);
  const { data } = schema.safeParse(body === undefined ? undefined : readJson(body));
  const token = data?.token ?? data?.access_token;
  if (token === undefined) throw protocolError(registry, `${realm.host} gave no token`);
  return { token, lifeMs: lifeOf(data?.expires_in) };
}

function get(
  { realm, service, scopes, signal }: TokenRequest,
  credentials: Extract<Credentials, { kind: "password" }> | undefined,
): Parameters<HttpTransport["send"]>[0] {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set("service", service);
  for (const scope of scopes) url.searchParams.append("scope", scope);
  const headers: Record<string, string> = { accept: "application/json" };
  if (credentials !== undefined) {
    const { username, password } = credentials;
    headers["authorization"] = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  }
  return { url, headers, signal };
}

function post(
  { realm, service, scopes, signal }: TokenRequest,
  identityToken: string,
): Parameters<HttpTransport["send"]>[0] {
  const form = new URLSearchParams({ grant_type: "refresh_token", client_id: "pyro" });
  form.set("service", service ?? realm.host);
  form.set("scope", scopes.join(" "));
  form.set("refresh_token", identityToken);
  const headers = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" };
  return { url: realm, method: "POST", headers, body: form.toString(), signal };
}

function refusal(registry: string, realm: URL, answer: HttpAnswer, loggedIn: boolean): PyroError {
  const { status } = answer;
  if (status === 400 || status === 401 || status === 403) {
    return unauthorized(registry, `${realm.host} gives no token (${status})`, loggedIn);
  }
  if (status >= 300 && status < 400) return protocolError(registry, `${realm.host} sends us on for a token`);
  return statusError(registry, "a token", answer);
}

/** A token is never to live for less than a minute (token.md); one that does is refused, and asked for anew. */
function lifeOf(expiresIn = 0): number {
  return Math.min(Math.max(expiresIn * 1000, LIMITS.registryTokenMs), LIFE_MAX_MS);
}

function readJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}
