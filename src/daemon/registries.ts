import { homedir } from "node:os";
import { join } from "node:path";
import { exists, networkVariables, type NetworkVariables } from "../kit/index.js";
import {
  BlobStore,
  containerCredentials,
  type Digest,
  ImagePulls,
  ImagePushes,
  type RegistrySettings,
} from "../oci/index.js";
import { PyroError } from "../protocol/index.js";
import type { Settings } from "./configuration.js";
import { readCertificates } from "./provision/certificates.js";

export interface ImagesOfRegistriesOptions {
  /** Below which the content of images is kept. */
  readonly cacheDirectory: string;
  readonly settings: Pick<
    Settings,
    "mirrors" | "insecure_registries" | "certificates" | "proxy" | "no_proxy"
  >;
  /** The daemon's environment. */
  readonly environment: NodeJS.ProcessEnv;
}

/** The content of images and the way to their registries; opened by the first that needs it, closed with the daemon. */
export class ImagesOfRegistries implements AsyncDisposable {
  #opening: Promise<Opened> | undefined;

  constructor(private readonly options: ImagesOfRegistriesOptions) {}

  /** @throws {PyroError} ENVIRONMENT_BUSY while another daemon has the same cache open */
  async pulls(): Promise<ImagePulls> {
    return (await this.#open()).pulls;
  }

  /** @throws {PyroError} as `pulls` */
  async pushes(): Promise<ImagePushes> {
    return (await this.#open()).pushes;
  }

  /** @throws {PyroError} as `pulls` */
  async store(): Promise<BlobStore> {
    return (await this.#open()).store;
  }

  /**
   * Removes content that no image of these has. Where there is no store, or another daemon has it, nothing.
   * @param keep digests of images' manifests
   */
  async prune(keep: readonly string[]): Promise<{ removed: string[]; freedBytes: number }> {
    const nothing = { removed: [], freedBytes: 0 };
    if (!(await exists(storePath(this.options)))) return nothing;
    try {
      const { store, pulls } = await this.#open();
      const { removed, freedBytes } = await store.prune(keep as Digest[], pulls.busy());
      return removed.length === 0
        ? { ...nothing, freedBytes }
        : { removed: [contents(removed.length)], freedBytes };
    } catch (error) {
      if (PyroError.from(error).code === "ENVIRONMENT_BUSY") return nothing;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await this.#opening?.catch(() => undefined);
    await opened?.pulls[Symbol.asyncDispose]();
    await opened?.pushes[Symbol.asyncDispose]();
    await opened?.store[Symbol.asyncDispose]();
  }

  async #open(): Promise<Opened> {
    // What failed is tried again by the next.
    const opening = (this.#opening ??= this.#reallyOpen().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    }));
    return await opening;
  }

  async #reallyOpen(): Promise<Opened> {
    const { settings, environment } = this.options;
    const variables = networkVariables(environment);
    const { pem } = await readCertificates({ files: settings.certificates, variables });
    const store = await BlobStore.open(storePath(this.options));
    const common = {
      registries: registrySettings(settings),
      credentials: containerCredentials({ home: homedir(), environment }),
      transport: {
        environment: proxyVariables(settings, variables),
        ...(pem === "" ? {} : { certificates: [pem] }),
      },
    };
    return { store, pulls: new ImagePulls({ store, ...common }), pushes: new ImagePushes(common) };
  }
}

interface Opened {
  readonly store: BlobStore;
  readonly pulls: ImagePulls;
  readonly pushes: ImagePushes;
}

function storePath({ cacheDirectory }: ImagesOfRegistriesOptions): string {
  return join(cacheDirectory, "oci");
}

function contents(count: number): string {
  return `${count} ${count === 1 ? "file" : "files"} fetched from registries`;
}

/** What the configuration says of registries. */
export function registrySettings({
  mirrors,
  insecure_registries: insecure,
}: Pick<Settings, "mirrors" | "insecure_registries">): RegistrySettings {
  return {
    ...(mirrors === undefined ? {} : { mirrors }),
    ...(insecure === undefined ? {} : { insecure }),
  };
}

/** How registries are reached: the configuration's proxy goes before that of the environment, as for machines. */
function proxyVariables(
  settings: Pick<Settings, "proxy" | "no_proxy">,
  variables: NetworkVariables,
): Record<string, string> {
  const { proxy, no_proxy: noProxy } = settings;
  return {
    https_proxy: proxy ?? variables.https_proxy ?? variables.HTTPS_PROXY ?? "",
    http_proxy: proxy ?? variables.http_proxy ?? variables.HTTP_PROXY ?? "",
    no_proxy: noProxy?.join(",") ?? variables.no_proxy ?? variables.NO_PROXY ?? "",
  };
}
