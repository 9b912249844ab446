/**
 * Variables by which a user tells programs of the host's network: the only ones that a daemon is given of its starter's
 * environment. Nothing of them reaches a machine but what src/daemon/provision makes of them.
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

/** Those that are set, and not to nothing. */
export function networkVariables(from: NodeJS.ProcessEnv = process.env): NetworkVariables {
  const set = NETWORK_VARIABLES.map((name) => [name, from[name]] as const);
  return Object.fromEntries(set.filter(([, value]) => value !== undefined && value !== ""));
}

/** The same for a daemon's environment. Its own Node has no use for a bundle, and would take 80 ms to read it in at each start. */
export function networkVariablesForDaemon(from: NodeJS.ProcessEnv = process.env): NetworkVariables {
  const { NODE_EXTRA_CA_CERTS, ...others } = networkVariables(from);
  return NODE_EXTRA_CA_CERTS === undefined ? others : { ...others, PYRO_EXTRA_CA_CERTS: NODE_EXTRA_CA_CERTS };
}
