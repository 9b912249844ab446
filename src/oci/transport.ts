import { readFileSync } from "node:fs";
import { rootCertificates } from "node:tls";
import type { Readable } from "node:stream";
import type * as Undici from "undici";
import { thisBuild } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import { isLoopback } from "./registries.js";
import { transportError } from "./transport-errors.js";

export interface TransportOptions {
  /**
   * The variables that say how this host reaches the world: HTTPS_PROXY, HTTP_PROXY, NO_PROXY (also in small letters) and
   * NODE_EXTRA_CA_CERTS. The process's own are not looked at, except by Node itself for the last.
   */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Authorities that are trusted besides, in PEM. */
  readonly certificates?: readonly string[];
  readonly connectMs?: number;
  readonly headersMs?: number;
  readonly idleMs?: number;
}

export interface HttpRequest {
  readonly url: URL;
  readonly method?: "GET" | "HEAD" | "POST" | "PATCH" | "PUT" | "DELETE";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | Readable;
  /** Until the head of the answer, from the last byte of the body; default: what the transport was opened with. */
  readonly headersMs?: number;
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  /** The first value of a header, by its name in small letters. */
  header(name: string): string | undefined;
  /** All values of a header. */
  headers(name: string): readonly string[];
  /** Has to be read, or given to `discard`. */
  readonly body: Readable;
}

/**
 * What waits to be read comes as one part, of so many bytes at most. Of a fast line, parts of the usual 64 KiB cost more to
 * hand on, from thread to thread, than to hash.
 */
const PART_BYTES = 512 * 1024;

interface Dispatchers {
  readonly request: typeof Undici.request;
  /** What goes to this machine itself never goes through a proxy, as in Go's tools. */
  readonly direct: Undici.Dispatcher;
  readonly outward: Undici.Dispatcher;
}

/**
 * One HTTP exchange at a time, with the host's proxies and authorities, and a bound on each wait. Follows no redirect and
 * repeats nothing: its callers know what may be repeated, and where credentials may go.
 */
export class HttpTransport implements AsyncDisposable {
  readonly #options: TransportOptions;
  #dispatchers: Promise<Dispatchers> | undefined;

  constructor(options: TransportOptions = {}) {
    this.#options = options;
  }

  /**
   * @throws {PyroError} REGISTRY_UNREACHABLE, REGISTRY_TIMEOUT, REGISTRY_TLS_FAILED, REGISTRY_PROXY_FAILED,
   *   REGISTRY_PROTOCOL_ERROR; or the signal's reason
   */
  async send({ url, method = "GET", headers, body, headersMs, signal }: HttpRequest): Promise<HttpAnswer> {
    signal.throwIfAborted();
    const { request, direct, outward } = await (this.#dispatchers ??= this.#open());
    try {
      const answer = await request(url, {
        dispatcher: isLoopback(url) ? direct : outward,
        method,
        // What is packed once more on its way would not have the digest that was asked for.
        headers: { "user-agent": `pyro/${thisBuild().version}`, "accept-encoding": "identity", ...headers },
        body: body ?? null,
        highWaterMark: PART_BYTES,
        ...(headersMs === undefined ? {} : { headersTimeout: headersMs }),
        signal,
      });
      // Whoever gives a body up does not listen to it any more.
      answer.body.on("error", () => undefined);
      const all = (name: string): readonly string[] => [answer.headers[name] ?? []].flat();
      return { status: answer.statusCode, header: (name) => all(name)[0], headers: all, body: answer.body };
    } catch (error) {
      signal.throwIfAborted();
      throw transportError(url, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const dispatchers = await this.#dispatchers;
    await Promise.all([dispatchers?.direct.destroy(), dispatchers?.outward.destroy()]);
  }

  /** The library is loaded by the first request: a daemon that pulls nothing does not wait for it. */
  async #open(): Promise<Dispatchers> {
    // A bundle that is split gives a CommonJS module as the default alone.
    const { Agent, EnvHttpProxyAgent, request } = (await import("undici")).default;
    const { environment = {}, connectMs, headersMs, idleMs } = this.#options;
    const timeout = connectMs ?? LIMITS.registryConnectMs;
    const certificates = this.#certificates();
    const connect = { timeout, ...(certificates === undefined ? {} : { ca: certificates }) };
    const options = {
      connect,
      headersTimeout: headersMs ?? LIMITS.registryHeadersMs,
      bodyTimeout: idleMs ?? LIMITS.registryIdleMs,
    };
    const variable = (name: string): string => environment[name] ?? environment[name.toUpperCase()] ?? "";
    const outward = new EnvHttpProxyAgent({
      ...options,
      ...{ requestTls: connect, proxyTls: connect },
      ...{
        httpProxy: variable("http_proxy"),
        httpsProxy: variable("https_proxy"),
        noProxy: variable("no_proxy"),
      },
    });
    return { request, direct: new Agent(options), outward };
  }

  /** All that is trusted, where that is more than Node trusts by itself: naming some replaces Node's own. */
  #certificates(): string[] | undefined {
    const { certificates = [], environment = {} } = this.#options;
    const path = environment["NODE_EXTRA_CA_CERTS"];
    if (certificates.length === 0 && path === undefined) return undefined;
    return [...rootCertificates, ...certificates, ...(path === undefined ? [] : readCertificates(path))];
  }
}

/** Node itself warns of a file that cannot be read, and goes on. */
function readCertificates(path: string): string[] {
  try {
    return [readFileSync(path, "utf8")];
  } catch {
    return [];
  }
}

/** Ends an answer whose body is of no use; the connection is kept where the rest of it is short. */
export async function discard({ body }: HttpAnswer): Promise<void> {
  let room = 64 * 1024;
  const deadline = setTimeout(() => body.destroy(), 1_000);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      room -= chunk.length;
      if (room < 0) break;
    }
  } catch {
    // It was of no use anyway.
  } finally {
    clearTimeout(deadline);
    body.destroy();
  }
}

/** The whole body of a small document; undefined where it is longer than `maxBytes`. */
export async function readAll(
  { body }: HttpAnswer,
  url: URL,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const deadline = setTimeout(() => {
    body.destroy(Object.assign(new Error("the answer took too long"), { code: "UND_ERR_BODY_TIMEOUT" }));
  }, LIMITS.registryDocumentMs);
  const chunks: Buffer[] = [];
  let room = maxBytes;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      room -= chunk.length;
      if (room < 0) return undefined;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    signal.throwIfAborted();
    throw transportError(url, error);
  } finally {
    clearTimeout(deadline);
    body.destroy();
  }
}
