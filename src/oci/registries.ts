import { PyroError } from "../protocol/index.js";

/**
 * The registry of names without one, as every tool of this field reads them. Its API and its entry in a container
 * configuration stand below it, at names of their own.
 */
export const DEFAULT_REGISTRY = "docker.io";
const DEFAULT_API_LABEL = "registry-1";
const DEFAULT_LOGIN_LABEL = "index";

/** What the user's configuration says of registries. */
export interface RegistrySettings {
  /** The registry of references without one; DEFAULT_REGISTRY where absent. */
  readonly defaultRegistry?: string;
  /** Where a registry's API is, by its name, where that is not `https://NAME`. */
  readonly apis?: Readonly<Record<string, string>>;
  /** Where to fetch from first, by registry: addresses in the order in which they are tried. */
  readonly mirrors?: Readonly<Record<string, readonly string[]>>;
  /** Registries that are spoken to by plain HTTP, as they are written in references. */
  readonly insecure?: readonly string[];
}

/** One place that serves a registry's repositories: itself, or a mirror of it. */
export interface Endpoint {
  /** For messages: the host, with its port where it has one. */
  readonly name: string;
  /** Without a slash at its end; `/v2/…` follows. */
  readonly base: string;
  /** What it is called in a container configuration; the first found counts. */
  readonly logins: readonly string[];
  readonly isMirror: boolean;
}

/**
 * The places to ask for a registry's images, in order; the registry itself is the last.
 * @throws {PyroError} CONFIG_INVALID for a mirror that is no address
 */
export function endpointsOf(registry: string, settings: RegistrySettings): Endpoint[] {
  const mirrors = settings.mirrors?.[registry] ?? [];
  return [...mirrors.map((address) => mirrorAt(registry, address)), originOf(registry, settings)];
}

function originOf(registry: string, settings: RegistrySettings): Endpoint {
  const isDefault = registry === DEFAULT_REGISTRY;
  const host = isDefault ? `${DEFAULT_API_LABEL}.${registry}` : registry;
  const scheme = settings.insecure?.includes(registry) === true ? "http" : "https";
  const base = settings.apis?.[registry] ?? `${scheme}://${host}`;
  const login = `${DEFAULT_LOGIN_LABEL}.${registry}`;
  return {
    name: registry,
    base: withoutSlash(base),
    // Docker keeps its own registry's login under the address of an API that is gone.
    logins: isDefault ? [`https://${login}/v1/`, login, registry, host] : [registry],
    isMirror: false,
  };
}

function mirrorAt(registry: string, address: string): Endpoint {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") {
    throw new PyroError(
      "CONFIG_INVALID",
      `a mirror of ${registry} is no address: it has to be https://HOST`,
      {
        hint: "mend `mirrors` in ~/.config/pyro/config.toml; logins belong into the container configuration",
      },
    );
  }
  return {
    name: url.host,
    base: withoutSlash(`${url.origin}${url.pathname}`),
    logins: [url.host],
    isMirror: true,
  };
}

function withoutSlash(address: string): string {
  return address.replace(/\/+$/, "");
}

/** Whether an address is this machine's own; only there are credentials given without TLS. */
export function isLoopback(url: URL): boolean {
  const host = url.hostname;
  // The URL parser has made every spelling of an IPv4 address the dotted one.
  return /^(?:localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(host);
}
