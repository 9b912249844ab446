/**
 * Variables by which a user tells programs of the host's network: besides those below, the only ones that a daemon is given
 * of its starter's environment. Nothing of them reaches a machine but what src/daemon/provision makes of them.
 */
const NETWORK_VARIABLES = [
  // Files of certificates: OpenSSL, Node, Python's requests, curl, git, pip.
  ...[
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
  ],
  // How a daemon is told of NODE_EXTRA_CA_CERTS.
  "PYRO_EXTRA_CA_CERTS",
  ...["https_proxy", "http_proxy", "no_proxy", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"],
  ...["npm_config_registry", "NPM_CONFIG_REGISTRY", "PIP_INDEX_URL", "GOPROXY"],
] as const;

export type NetworkVariables = Readonly<Partial<Record<(typeof NETWORK_VARIABLES)[number], string>>>;

/** Where containers' tools keep their logins, for pulls from registries (containers-auth.json(5), docker login). */
const LOGIN_VARIABLES = [
  ...["DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"],
  // What helpers that know the logins ask for them by.
  ...["DBUS_SESSION_BUS_ADDRESS", "XDG_DATA_HOME"],
] as const;

/** Those that are set, for a daemon's environment. */
export function loginVariables(from: NodeJS.ProcessEnv = process.env): Record<string, string> {
  return setIn(LOGIN_VARIABLES, from);
}

/** Those that are set, and not to nothing. */
export function networkVariables(from: NodeJS.ProcessEnv = process.env): NetworkVariables {
  return setIn(NETWORK_VARIABLES, from);
}

function setIn(names: readonly string[], from: NodeJS.ProcessEnv): Record<string, string> {
  const set = names.map((name) => [name, from[name] ?? ""] as const);
  return Object.fromEntries(set.filter(([, value]) => value !== ""));
}

/** The same for a daemon's environment. Its own Node has no use for a bundle, and would take 80 ms to read it in at each start. */
export function networkVariablesForDaemon(from: NodeJS.ProcessEnv = process.env): NetworkVariables {
  const { NODE_EXTRA_CA_CERTS, ...others } = networkVariables(from);
  return NODE_EXTRA_CA_CERTS === undefined ? others : { ...others, PYRO_EXTRA_CA_CERTS: NODE_EXTRA_CA_CERTS };
}
