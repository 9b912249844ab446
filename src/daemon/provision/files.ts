import type { HostCertificates } from "./certificates.js";
import type { GuestSources } from "./apt.js";
import type { Registries } from "./registries.js";

/** What the agent of a machine is told with its network (ConfigureNetworkRequest). */
export interface Provision {
  /** All that there may ever be, those to be taken away with an empty content. */
  readonly files: readonly {
    readonly path: string;
    readonly content: Uint8Array;
    readonly appended: boolean;
  }[];
  /** NAME=value, where a command does not say otherwise. */
  readonly environment: readonly string[];
}

/** Debian's update-ca-certificates(8) takes it from here, should it run. */
const CERTIFICATES = "/usr/local/share/ca-certificates/pyro-host.crt";
/** What most programs read; the file of before stands in front of what is added. */
const BUNDLE = "/etc/ssl/certs/ca-certificates.crt";
const APT = "/etc/apt/sources.list.d/pyro-host.sources";
/** The user's, since the place of npm's settings for all users depends on how npm was installed; a project's go before it. */
const NPM = "/root/.npmrc";
const PIP = "/etc/pip.conf";

export function provisionOf(
  { pem }: Pick<HostCertificates, "pem">,
  apt: Pick<GuestSources, "text">,
  { npm, pip, go }: Registries,
): Provision {
  const contents: readonly (readonly [path: string, text: string, appended?: boolean])[] = [
    [CERTIFICATES, pem],
    [BUNDLE, pem, true],
    [APT, apt.text],
    [NPM, npm === undefined ? "" : `registry=${npm}\n`],
    [PIP, pip === undefined ? "" : pipConfiguration(pip)],
  ];
  return {
    files: contents.map(([path, text, appended = false]) => ({ path, content: Buffer.from(text), appended })),
    environment: [
      // OpenSSL's own default is a directory of hashed names, Node's and requests' are lists of their own.
      ...(pem === "" ? [] : [`SSL_CERT_FILE=${BUNDLE}`, `REQUESTS_CA_BUNDLE=${BUNDLE}`]),
      ...(pem === "" ? [] : [`NODE_EXTRA_CA_CERTS=${CERTIFICATES}`]),
      ...(go === undefined ? [] : [`GOPROXY=${go}`]),
    ],
  };
}

/** pip takes an index without TLS only from a host that it is told to trust, as this host's was. */
function pipConfiguration(index: string): string {
  const trust = index.startsWith("http:") ? `trusted-host = ${new URL(index).host}\n` : "";
  return `[global]\nindex-url = ${index}\n${trust}`;
}

/** Takes back whatever a machine, or the one that had its disk before, was given. */
export const NOTHING: Provision = provisionOf({ pem: "" }, { text: "" }, { warnings: [] });
