/**
 * What a machine with a network gets of its host: the host's proxy, the certificates that it trusts beyond its
 * distribution's, and where its package managers fetch from. Public things only, without credentials; nothing with policy `off`.
 */
import type { Logger, NetworkVariables } from "../../kit/index.js";
import { readHostSources, type HostPrograms } from "../../image/index.js";
import type { Dial } from "../../network/index.js";
import { PyroError } from "../../protocol/index.js";
import type { Settings } from "../configuration.js";
import { guestSources, type GuestSources } from "./apt.js";
import { readCertificates } from "./certificates.js";
import { provisionOf, type Provision } from "./files.js";
import { hostProxy, type HostProxy } from "./proxy.js";
import { readRegistries, type Registries } from "./registries.js";

export { NOTHING, type Provision } from "./files.js";

export interface HostProvisionOptions {
  readonly settings: Pick<
    Settings,
    "certificates" | "package_sources" | "apt_sources" | "proxy" | "no_proxy"
  >;
  readonly variables: NetworkVariables;
  readonly host: HostPrograms;
  readonly log: Logger;
}

/** The suite of every environment of the catalogue. */
const SUITE = "bookworm";
/** apt answers in half a second; where it does not, machines do without. */
const APT_MS = 10_000;

/** Read when the first machine needs it, and kept as long as the daemon lives, like the configuration. */
export class HostProvision {
  readonly #proxy: HostProxy;
  #reading: Promise<Found> | undefined;

  /** @throws {PyroError} CONFIG_INVALID when the configuration's proxy cannot be used */
  constructor(private readonly options: HostProvisionOptions) {
    this.#proxy = hostProxy(options.settings, options.variables);
  }

  /** How connections of machines go out. */
  get dial(): Dial {
    return this.#proxy.dial;
  }

  /** Never rejects. */
  async read(): Promise<Provision> {
    return (await this.#found()).provision;
  }

  /** For the user: how connections go out, what machines get, and what they do not. */
  async describe(): Promise<string> {
    return `${this.#proxy.description}; ${(await this.#found()).description}`;
  }

  async #found(): Promise<Found> {
    this.#reading ??= this.#read();
    return await this.#reading;
  }

  async #read(): Promise<Found> {
    const { settings, variables, log } = this.options;
    const hasSources = settings.package_sources !== false;
    const [certificates, apt, registries] = await Promise.all([
      readCertificates({ files: settings.certificates, variables }),
      // Those that are named are not the host's own.
      hasSources || settings.apt_sources !== undefined ? this.#apt() : NO_SOURCES,
      hasSources ? readRegistries({ variables }) : NO_REGISTRIES,
    ]).catch((error: unknown) => {
      log.error("provision", { error: PyroError.from(error).message });
      return [{ pem: "", count: 0, warnings: [] }, NO_SOURCES, NO_REGISTRIES] as const;
    });
    const warnings = [...certificates.warnings, ...apt.warnings, ...registries.warnings];
    for (const warning of warnings) log.warn("provision", { warning });
    const sources = [
      ...(apt.text === "" ? [] : ["apt"]),
      ...(["npm", "pip", "go"] as const).filter((name) => registries[name] !== undefined),
    ];
    const gets = [
      ...(certificates.count === 0 ? [] : [`${certificates.count} certificates of this host`]),
      ...(sources.length === 0 ? [] : [`its sources of ${sources.join(", ")}`]),
    ];
    const description = `machines with a network get ${gets.join(" and ") || "nothing of this host"}`;
    return {
      provision: provisionOf(certificates, apt, registries),
      description: [description, ...warnings].join("; "),
    };
  }

  async #apt(): Promise<GuestSources> {
    const { host, settings } = this.options;
    const signal = AbortSignal.timeout(APT_MS);
    try {
      return guestSources(await readHostSources({ host, suite: SUITE, files: settings.apt_sources, signal }));
    } catch (error) {
      // Of a host whose apt does not answer nothing need be said.
      return { text: "", warnings: signal.aborted ? [] : [PyroError.from(error).message] };
    }
  }
}

interface Found {
  readonly provision: Provision;
  readonly description: string;
}

const NO_SOURCES: GuestSources = { text: "", warnings: [] };
const NO_REGISTRIES: Registries = { warnings: [] };
