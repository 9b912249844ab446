import type { Readable } from "node:stream";
import { LIMITS } from "../protocol/index.js";
import type { Authorization } from "./authorization.js";
import { protocolError, redirectRefused } from "./registry-errors.js";
import { isLoopback, type Endpoint } from "./registries.js";
import { discard, type HttpAnswer, type HttpRequest, type HttpTransport } from "./transport.js";

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** A request that changes something, or is part of one that does. */
export interface ChangingRequest {
  readonly method: NonNullable<HttpRequest["method"]>;
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** Made anew for each time that the request is sent. */
  readonly body?: () => Readable | Uint8Array;
  /** Until the head of the answer; default LIMITS.registryHeadersMs. */
  readonly headersMs?: number;
}

/** Requests about one repository at one endpoint. Repeats nothing but what a 401 asks for. */
export class RepositoryRequests {
  constructor(
    private readonly transport: HttpTransport,
    readonly endpoint: Endpoint,
    /** Of the repository. */
    readonly name: string,
    private readonly authorization: Authorization,
  ) {}

  url(path: string): URL {
    return new URL(`${this.endpoint.base}/v2/${this.name}/${path}`);
  }

  /**
   * Reads something, wherever redirects lead.
   * @throws {PyroError} what the transport and the authorization do; REGISTRY_REDIRECT_REFUSED
   */
  async get(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<HttpAnswer> {
    return await this.#authorized(signal, (authorization) =>
      this.#follow(this.url(path), headers, authorization, signal),
    );
  }

  /**
   * Changes something. A redirect is not followed: what is sent is for the registry, or for where it said before.
   * @throws {PyroError} what `get` does
   */
  async send({ url, body, ...request }: ChangingRequest, signal: AbortSignal): Promise<HttpAnswer> {
    const isOwn = url.origin === new URL(this.endpoint.base).origin;
    const answer = await this.#authorized(signal, async (authorization) => {
      const own = isOwn && authorization !== undefined ? { authorization } : {};
      const headers = { ...request.headers, ...own };
      const content = body === undefined ? {} : { body: body() };
      return { answer: await this.transport.send({ ...request, url, ...content, headers, signal }), isOwn };
    });
    if (!REDIRECTS.has(answer.status)) return answer;
    await discard(answer);
    throw redirectRefused(this.endpoint.name, "in the middle of a push");
  }

  /** Where an answer says that a thing is, to be asked next. @throws {PyroError} REGISTRY_REDIRECT_REFUSED */
  located(answer: HttpAnswer, from: URL): URL {
    return this.#checkTarget(answer.header("location"), from);
  }

  async #authorized(
    signal: AbortSignal,
    attempt: (authorization: string | undefined) => Promise<{ answer: HttpAnswer; isOwn: boolean }>,
  ): Promise<HttpAnswer> {
    for (let asked = false; ; asked = true) {
      const authorization = await this.authorization.header(signal);
      const { answer, isOwn } = await attempt(authorization);
      // What another place asks for is not answered: credentials are for the registry.
      if (answer.status !== 401 || !isOwn || asked) return answer;
      await discard(answer);
      await this.authorization.answer(answer.headers("www-authenticate"), authorization, signal);
    }
  }

  /** Follows redirects; once one leads away from the endpoint, the authorization does not go along any more. */
  async #follow(
    start: URL,
    headers: Record<string, string>,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<{ answer: HttpAnswer; isOwn: boolean }> {
    let url = start;
    let isOwn = true;
    for (let hops = 0; hops <= LIMITS.registryRedirects; hops++) {
      const own = isOwn && authorization !== undefined ? { authorization } : {};
      const answer = await this.transport.send({ url, headers: { ...headers, ...own }, signal });
      if (!REDIRECTS.has(answer.status)) return { answer, isOwn };
      await discard(answer);
      url = this.#checkTarget(answer.header("location"), url);
      isOwn &&= url.origin === start.origin;
    }
    throw redirectRefused(this.endpoint.name, `more than ${LIMITS.registryRedirects} times`);
  }

  #checkTarget(location: string | undefined, from: URL): URL {
    const { name, base } = this.endpoint;
    if (location === undefined || !URL.canParse(location, from.href))
      throw protocolError(name, "it redirects nowhere");
    const target = new URL(location, from);
    const own = new URL(base);
    if (target.username !== "" || target.password !== "")
      throw redirectRefused(name, "with credentials in the address");
    if (isLoopback(target) && !isLoopback(own)) throw redirectRefused(name, `${target.host} is this machine`);
    const isPlainAllowed = own.protocol === "http:" && (target.origin === own.origin || isLoopback(target));
    if (target.protocol === "https:" || (target.protocol === "http:" && isPlainAllowed)) return target;
    throw redirectRefused(name, `${target.host} has no TLS`);
  }
}
