import { untilAborted } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import { challengeOf, type Challenge } from "./challenge.js";
import type { Credentials, CredentialSource } from "./credentials.js";
import { realmRefused, unauthorized } from "./registry-errors.js";
import { isLoopback, type Endpoint } from "./registries.js";
import { fetchToken } from "./token.js";
import type { HttpTransport } from "./transport.js";

type BearerChallenge = Extract<Challenge, { scheme: "bearer" }>;

/** What a token of the registry allows to do with a repository. */
type Actions = "pull" | "pull,push";

interface Held {
  /** The value of the Authorization header. */
  readonly value: string;
  /** By performance.now(). */
  readonly goodUntilMs: number;
}

/** Renewed this long before its end, or at nine tenths of its life. */
const RENEW_BEFORE_MS = 5_000;

/**
 * Who asks for one repository at one endpoint. Credentials go to the endpoint itself (Basic), or to the realm that the
 * endpoint named first (Bearer), and there only over TLS or to this machine; to nobody else, however they are asked for.
 */
export class Authorization {
  readonly #transport: HttpTransport;
  readonly #endpoint: Endpoint;
  readonly #repository: string;
  readonly #actions: Actions;
  readonly #source: CredentialSource;
  /** Origins of realms, by endpoint: shared by all that speak to it. */
  readonly #realms: Map<string, string>;
  #challenge: BearerChallenge | undefined;
  #held: Held | undefined;
  #renewing: Promise<Held> | undefined;

  constructor(options: {
    readonly transport: HttpTransport;
    readonly endpoint: Endpoint;
    readonly repository: string;
    /** What is to be done with the repository; default "pull". */
    readonly actions?: Actions;
    readonly source: CredentialSource;
    readonly realms: Map<string, string>;
  }) {
    this.#transport = options.transport;
    this.#endpoint = options.endpoint;
    this.#repository = options.repository;
    this.#actions = options.actions ?? "pull";
    this.#source = options.source;
    this.#realms = options.realms;
  }

  /** The header for the next request; undefined as long as the endpoint asked for none. A token near its end is renewed. */
  async header(signal: AbortSignal): Promise<string | undefined> {
    if (this.#held === undefined) return undefined;
    if (performance.now() < this.#held.goodUntilMs || this.#challenge === undefined) return this.#held.value;
    return (await this.#renew(this.#challenge, signal)).value;
  }

  /**
   * Answers a 401 of the endpoint itself, so that the same request may be sent once more; never twice for one request.
   * @param sent the header that was refused
   * @throws {PyroError} REGISTRY_UNAUTHORIZED, REGISTRY_REALM_REFUSED, and what `fetchToken` does
   */
  async answer(headers: readonly string[], sent: string | undefined, signal: AbortSignal): Promise<void> {
    // Another request renewed it meanwhile.
    if (this.#held !== undefined && this.#held.value !== sent) return;
    const challenge = challengeOf(headers);
    if (challenge === undefined)
      throw unauthorized(this.#endpoint.name, "it does not say how to log in", false);
    if (challenge.scheme === "bearer") {
      this.#challenge = challenge;
      await this.#renew(challenge, signal);
      return;
    }
    const own = new URL(this.#endpoint.base);
    const credentials = await this.#credentials(own, signal);
    if (credentials?.kind !== "password") {
      const why = isPrivate(own) ? "it wants a login" : "it wants a login, which is given over TLS only";
      throw unauthorized(this.#endpoint.name, why, false);
    }
    const pair = Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64");
    this.#held = { value: `Basic ${pair}`, goodUntilMs: Infinity };
  }

  /** One for all who wait, so that none of them ends it for the others. */
  async #renew(challenge: BearerChallenge, signal: AbortSignal): Promise<Held> {
    this.#renewing ??= this.#fetch(challenge, AbortSignal.timeout(LIMITS.registryDocumentMs)).finally(
      () => (this.#renewing = undefined),
    );
    return await untilAborted(this.#renewing, signal);
  }

  async #fetch(challenge: BearerChallenge, signal: AbortSignal): Promise<Held> {
    const realm = this.#checkRealm(challenge.realm);
    const credentials = await this.#credentials(realm, signal);
    const token = await fetchToken(this.#transport, {
      realm,
      registry: this.#endpoint.name,
      service: challenge.service,
      scopes: scopesOf(challenge.scopes, this.#repository, this.#actions),
      credentials,
      signal,
    });
    const keepMs = Math.max(token.lifeMs - RENEW_BEFORE_MS, token.lifeMs * 0.9);
    this.#held = { value: `Bearer ${token.token}`, goodUntilMs: performance.now() + keepMs };
    return this.#held;
  }

  /** A realm is taken from the endpoint's own answers alone, and the first one stays (CVE-2020-15157 and its like). */
  #checkRealm(text: string): URL {
    const { name, base } = this.#endpoint;
    const realm = URL.canParse(text) ? new URL(text) : undefined;
    if (realm === undefined) throw realmRefused(name, "it is no address");
    if (realm.username !== "" || realm.password !== "") throw realmRefused(name, "it has credentials in it");
    const own = new URL(base);
    if (isLoopback(realm) && !isLoopback(own)) throw realmRefused(name, `${realm.host} is this machine`);
    const isPlainAllowed = realm.protocol === "http:" && own.protocol === "http:" && isLoopback(realm);
    if (realm.protocol !== "https:" && !isPlainAllowed) throw realmRefused(name, `${realm.host} has no TLS`);
    const recorded = this.#realms.get(own.origin);
    if (recorded !== undefined && recorded !== realm.origin) {
      throw realmRefused(name, `${realm.host} is not ${new URL(recorded).host}, where it sent us before`);
    }
    this.#realms.set(own.origin, realm.origin);
    return realm;
  }

  /**
   * What the user logged in with, where it may be sent to `target`: not where others hear it, nor where others may have
   * said that it is to be sent there.
   */
  async #credentials(target: URL, signal: AbortSignal): Promise<Credentials | undefined> {
    if (!isPrivate(target) || !isPrivate(new URL(this.#endpoint.base))) return undefined;
    return await this.#source(this.#endpoint, this.#repository, signal);
  }
}

/** Whether nobody else hears what is sent there. */
function isPrivate(target: URL): boolean {
  return target.protocol === "https:" || isLoopback(target);
}

/**
 * What to ask a token for: what the registry says is needed, but of no other repository more than pulling, and of this one
 * never more than what is to be done with it.
 */
function scopesOf(asked: readonly string[], repository: string, actions: Actions): string[] {
  const own = `repository:${repository}:${actions}`;
  const narrowed = asked.map((scope) => {
    const [, kind, name] = /^(repository(?:\([^)]*\))?):(.*):[^:]*$/.exec(scope) ?? [];
    return kind === undefined ? scope : `${kind}:${name}:${name === repository ? actions : "pull"}`;
  });
  return narrowed.length === 0 ? [own] : [...new Set(narrowed)];
}
