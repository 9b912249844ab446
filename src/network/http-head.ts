import { LIMITS } from "../protocol/index.js";
import { parseAuthority, sameHost, type Authority, type NamedHost } from "./authority.js";
import { checkFraming, readHeaders, type Headers } from "./http-headers.js";
import { shown } from "./problem.js";

/** What the first bytes of a connection are, read as HTTP/1 (RFC 9112). */
export type HttpHead =
  | { readonly kind: "need-more" }
  | { readonly kind: "not-http" }
  /** It is HTTP to some server, and servers differ in what they take it for: such a request goes nowhere. */
  | { readonly kind: "bad"; readonly reason: string }
  /** HTTP/2 without TLS, whose requests name their hosts in compressed headers. */
  | { readonly kind: "http2" }
  | {
      readonly kind: "head";
      readonly method: string;
      /** Its server: by Host. Absent only in HTTP/1.0. */
      readonly host: NamedHost | undefined;
      /** The place that a proxy is asked for: by CONNECT, or by a whole URL. */
      readonly destination: Destination | undefined;
    };

const NEED_MORE: HttpHead = { kind: "need-more" };
const NOT_HTTP: HttpHead = { kind: "not-http" };
const HTTP2_PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** One byte is one character (latin1). */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+/;
const TOKEN_MAX = 64;
/** Servers skip an empty line or two ahead of a request (RFC 9112 section 2.2). */
const BLANKS_MAX = 16;
/** The only schemes that requests are made for. */
const DEFAULT_PORTS: Readonly<Record<string, number>> = { http: 80, https: 443, ws: 80, wss: 443 };

/** A method with a path, a URL alone, or a place: a request to servers that complete what is missing. */
const BARE = /^[A-Za-z-]+[\t ]+(?:\/|\*|https?:|[A-Za-z]+:\/\/[^\t ]*[\t ]*\r?$)|^CONNECT[\t ]/i;

/**
 * Reads the head of the first request. `ended`: no more bytes will come. Loose in what it takes for HTTP, since servers are
 * (empty lines ahead, any case, tabs), and strict in what it then accepts.
 */
export function readHttpHead(bytes: Uint8Array, ended = false): HttpHead {
  const text = Buffer.from(bytes.subarray(0, LIMITS.httpHeadBytes)).toString("latin1");
  const isHttp = looksLikeHttp(text, ended);
  if (isHttp !== true) return isHttp;
  if (HTTP2_PREFACE.startsWith(text.slice(0, HTTP2_PREFACE.length)) && text.startsWith("PRI * HTTP/2")) {
    return { kind: "http2" };
  }
  const read = readHead(text);
  if (read.kind !== "need-more") return read;
  if (bytes.length >= LIMITS.httpHeadBytes)
    return bad(`the head has more than ${LIMITS.httpHeadBytes} bytes`);
  return ended ? bad("the head of the request is not finished") : NEED_MORE;
}

/** Whether a server might take it for HTTP, from its first line that is not empty. */
function looksLikeHttp(text: string, ended: boolean): true | HttpHead {
  const start = /[^\r\n\t ]/.exec(text)?.index;
  const isFull = ended || text.length >= LIMITS.httpHeadBytes;
  if ((start ?? text.length) > BLANKS_MAX) return bad("nothing but empty lines");
  if (start === undefined) return isFull ? NOT_HTTP : NEED_MORE;
  const end = text.indexOf("\n", start);
  const line = text.slice(start, end < 0 ? undefined : end);
  if (/HTTP\/[0-9]/i.test(line)) return true;
  // HTTP/0.9, and what is like it.
  const isBare = BARE.test(line);
  if (end >= 0 || isFull) return isBare ? bad("a request without the version of HTTP") : NOT_HTTP;
  const method = TOKEN.exec(line)?.[0] ?? "";
  if (method === "" || method.length > TOKEN_MAX) return NOT_HTTP;
  if (method.length === line.length) return NEED_MORE;
  // No server takes a NUL in a request's line, and binary protocols (git's own) have one and wait for an answer.
  const isSpaced = /[\t ]/.test(line.charAt(method.length));
  return isSpaced && !line.includes("\0") ? NEED_MORE : NOT_HTTP;
}

/** The strict reading, as far as the head has come. */
function readHead(text: string): HttpHead {
  const lineEnd = text.indexOf("\n");
  if (lineEnd < 0) return NEED_MORE;
  if (text[lineEnd - 1] !== "\r") return bad("a line ends in a bare LF");
  const line = text.slice(0, lineEnd - 1);
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) HTTP\/1\.([01])$/.exec(line);
  if (match === null) return bad(`${shown(line)} is no request line`);
  const [, method = "", target = "", minor = ""] = match;
  const headers = readHeaders(text.slice(lineEnd + 1));
  if (typeof headers === "string") return bad(headers);
  if (headers === undefined) return NEED_MORE;
  const framing = checkFraming(headers, minor === "0");
  if (framing !== undefined) return bad(framing);
  return withAuthority(method, target, minor === "0", headers);
}

function withAuthority(method: string, target: string, isOld: boolean, headers: Headers): HttpHead {
  const hosts = headers.get("host") ?? [];
  if (hosts.length > 1) return bad("Host is there twice");
  if (hosts.length === 0 && !isOld) return bad("there is no Host");
  const host = hosts[0] === undefined ? undefined : parseAuthority(hosts[0]);
  if (typeof host === "string") return bad(`Host ${host}`);
  const named = authorityOfTarget(method, target);
  if (typeof named === "string") return bad(named);
  if (named === undefined) return { kind: "head", method, host: host?.host, destination: undefined };
  if (host !== undefined && !agree(named, host)) return bad("the target and Host differ");
  return { kind: "head", method, host: host?.host, destination: named };
}

/** What a target says that is more than a path. */
export interface Destination extends Authority {
  readonly port: number;
  /** What Host means where it has no port: clients leave it out for CONNECT. */
  readonly defaultPort: number;
}

function agree(named: Destination, host: Authority): boolean {
  return sameHost(named.host, host.host) && (host.port ?? named.defaultPort) === named.port;
}

/** Of RFC 9112 section 3.2: absent for the origin and the asterisk form, where Host says it. */
function authorityOfTarget(method: string, target: string): Destination | string | undefined {
  if (method === "CONNECT") return destination(target, undefined);
  if (target.startsWith("/") || (target === "*" && method === "OPTIONS")) return undefined;
  const [, scheme = "", authority = ""] = /^([A-Za-z]+):\/\/([^/?#]*)/.exec(target) ?? [];
  const port = DEFAULT_PORTS[scheme.toLowerCase()];
  return port === undefined ? `${shown(target)} is no target` : destination(authority, port);
}

function destination(text: string, defaultPort: number | undefined): Destination | string {
  const authority = parseAuthority(text);
  if (typeof authority === "string") return authority;
  const port = authority.port ?? defaultPort;
  if (port === undefined) return `${shown(text)} has no port`;
  return { host: authority.host, port, defaultPort: defaultPort ?? port };
}

function bad(reason: string): HttpHead {
  return { kind: "bad", reason };
}
