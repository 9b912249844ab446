import { PyroError, type ErrorCode } from "../protocol/index.js";

/** What went wrong, by the code that Node, OpenSSL or undici gave; the first that matches. */
interface Kind {
  readonly codes: RegExp;
  readonly code: ErrorCode;
  readonly says: string;
  readonly hint: string;
  readonly retryable: boolean;
}

const CHECK_NETWORK =
  "check the name, and that this host reaches it; then try again: what was fetched is kept";
const TRUST =
  "where an authority of your own signs for it: `export NODE_EXTRA_CA_CERTS=FILE.pem`, `pyro daemon stop`, and try again";
const PLAIN =
  'a registry without TLS has to be allowed: insecure_registries = ["HOST:PORT"] in ~/.config/pyro/config.toml, then `pyro daemon stop`';

const KINDS: readonly Kind[] = [
  {
    codes: /^(ENOTFOUND|EAI_NODATA|EAI_NONAME)$/,
    ...{ code: "REGISTRY_UNREACHABLE", says: "there is no host of that name" },
    ...{ hint: CHECK_NETWORK, retryable: false },
  },
  {
    codes: /^(ERR_SSL_WRONG_VERSION_NUMBER|ERR_SSL_PACKET_LENGTH_TOO_LONG|ERR_SSL_HTTP_REQUEST)$/,
    ...{ code: "REGISTRY_TLS_FAILED", says: "it does not speak TLS", hint: PLAIN, retryable: false },
  },
  {
    codes: /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/,
    ...{ code: "REGISTRY_TLS_FAILED", says: "its certificate is not valid at this time" },
    ...{
      hint: "check this host's clock with `date`; else the registry needs a new certificate",
      retryable: false,
    },
  },
  {
    codes: /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    ...{ code: "REGISTRY_TLS_FAILED", says: "its certificate is for another name" },
    ...{ hint: "name the registry as its certificate does", retryable: false },
  },
  {
    codes: /SELF_SIGNED|UNABLE_TO_(VERIFY|GET)|^CERT_|ISSUER/,
    ...{ code: "REGISTRY_TLS_FAILED", says: "nobody that this host trusts signed its certificate" },
    ...{ hint: TRUST, retryable: false },
  },
  {
    codes: /^(ERR_SSL_|ERR_TLS_|EPROTO$|ERR_OSSL)/,
    ...{ code: "REGISTRY_TLS_FAILED", says: "TLS could not be agreed on", hint: TRUST, retryable: false },
  },
  {
    codes: /^(UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT|ETIMEDOUT)$/,
    ...{ code: "REGISTRY_TIMEOUT", says: "it did not answer in time", hint: CHECK_NETWORK, retryable: true },
  },
  {
    codes: /^(HPE_|HTTPParserError|UND_ERR_HEADERS_OVERFLOW|UND_ERR_RES_|UND_ERR_RESPONSE)/,
    ...{ code: "REGISTRY_PROTOCOL_ERROR", says: "it does not speak HTTP as it should" },
    ...{ hint: "check the registry's name and port", retryable: false },
  },
];

const OTHER: Omit<Kind, "codes"> = {
  ...{ code: "REGISTRY_UNREACHABLE", says: "the connection failed", hint: CHECK_NETWORK, retryable: true },
};

/**
 * The error of an exchange that failed below HTTP. Neither the address' query nor the cause goes along: both may hold what
 * lets somebody in.
 */
export function transportError(url: URL, error: unknown): PyroError {
  const { code: given, name, message } = error as NodeJS.ErrnoException;
  // undici's parser has a code for some of what it refuses, and a name for all.
  const code = given ?? (name === "Error" ? undefined : name);
  const proxied = /^Proxy response \((\d+)\)|Proxy Authentication Required \((407)\)/.exec(message);
  if (proxied !== null) {
    const status = Number(proxied[1] ?? proxied[2]);
    return new PyroError("REGISTRY_PROXY_FAILED", `the host's proxy answered ${status} for ${url.host}`, {
      hint: "check HTTPS_PROXY and NO_PROXY, then `pyro daemon stop` and try again",
      details: { host: url.host, status },
    });
  }
  const kind = KINDS.find(({ codes }) => codes.test(code ?? "")) ?? OTHER;
  return new PyroError(kind.code, `${url.host}: ${kind.says}${code === undefined ? "" : ` (${code})`}`, {
    hint: kind.hint.replace("HOST:PORT", url.host),
    details: { host: url.host, reason: code ?? "unknown" },
    retryable: kind.retryable,
  });
}
