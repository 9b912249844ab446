import type { Logger } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import {
  TemplateStore,
  type Isolation,
  type RuntimeBundle,
  type Template,
  type TemplateReadiness,
  type TemplateShape,
  type VmmDriver,
} from "../vmm/index.js";
import { lostWhilePrepared } from "./machine-watch.js";
import type { BootedMachine, BootRequest, Machines } from "./machines.js";
import { buildTemplate } from "./template-build.js";

export interface TemplatesOptions {
  readonly machines: Machines;
  readonly driver: VmmDriver;
  readonly bundle: () => Promise<Pick<RuntimeBundle, "digest" | "holderPath">>;
  /** One directory per template below it. */
  readonly directory: string;
  readonly log: Logger;
}

export interface RestoreRequest extends Omit<BootRequest, "memoryFile" | "restore"> {
  /** Virtual size of each of its disks. */
  readonly diskBytes: readonly number[];
}

/** Machines that start from a memory template; the first of a shape makes it by the way. */
export class Templates implements AsyncDisposable {
  readonly #store: TemplateStore;

  constructor(private readonly options: TemplatesOptions) {
    const { machines, driver, bundle, directory, log } = options;
    this.#store = new TemplateStore({
      directory,
      log,
      holderPath: async () => (await bundle()).holderPath,
      ground: async ({ vcpuCount, memMib, isolation, diskBytes }) => ({
        vmm: await driver.fingerprint({ vcpuCount, memMib, isolation, diskCount: diskBytes.length }),
        bundleDigest: (await bundle()).digest,
      }),
      build: (shape, files, signal) =>
        buildTemplate(machines, shape, files, signal).catch((error: unknown) => {
          throw lostWhilePrepared(error);
        }),
    });
  }

  sweep(): Promise<void> {
    return this.#store.sweep();
  }

  /**
   * The template of a shape, made where there is none; with `anew` even where there is a good one.
   * @throws {PyroError} why there cannot be one; the signal's reason
   */
  async prepare(
    shape: TemplateShape,
    signal: AbortSignal,
    options: { readonly anew?: boolean } = {},
  ): Promise<Template> {
    if (!this.options.driver.capabilities.memorySnapshots) {
      throw new PyroError(
        "VM_SAVE_FAILED",
        "this host's machines cannot be saved, so no template can be made",
        {
          hint: "nothing needs to be prepared here: each machine boots by itself",
        },
      );
    }
    return await this.#store.prepare(shape, options.anew ?? false, signal);
  }

  /**
   * What a machine of the shape would start from now. Where it is not known yet which accelerator this host has, each
   * that the driver knows may be it. Never throws: what cannot be used is cold, and its first use says why.
   */
  async readiness(
    shape: Omit<TemplateShape, "isolation">,
    isolation: Isolation | undefined,
  ): Promise<TemplateReadiness> {
    const { memorySnapshots, isolations } = this.options.driver.capabilities;
    if (!memorySnapshots) return "cold";
    const candidates = isolation === undefined ? isolations : [isolation];
    const found = await Promise.all(
      candidates.map((candidate) =>
        this.#store.readiness({ ...shape, isolation: candidate }).catch((): TemplateReadiness => "cold"),
      ),
    );
    return (["warm", "stale"] as const).find((readiness) => found.includes(readiness)) ?? "cold";
  }

  /**
   * A machine of the request at its agent's hello: restored from the shape's template, or booted cold where that cannot
   * be. A template never fails a machine: why it was not used stands in the log.
   * @throws {PyroError} what a cold boot throws
   */
  async start(request: RestoreRequest, signal: AbortSignal): Promise<BootedMachine> {
    const { machines, log } = this.options;
    // Lent until the machine has answered: what it starts from cannot go meanwhile.
    using template = await this.#templateFor(request, signal);
    if (template === undefined) return await machines.boot(request, signal);
    try {
      return await machines.boot({ ...request, restore: template.saved }, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      const error = PyroError.from(thrown);
      if (hostFault.has(error.code)) throw error;
      log.warn("template.not-restored", { key: template.key, code: error.code, reason: error.message });
      await this.#store.discard(template, error);
      return await machines.boot(request, signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]();
  }

  async #templateFor(request: RestoreRequest, signal: AbortSignal): Promise<Template | undefined> {
    const { driver, log } = this.options;
    if (!driver.capabilities.memorySnapshots) return undefined;
    const { vcpuCount, memMib, diskBytes, isolation } = request;
    try {
      return await this.#store.require({ vcpuCount, memMib, diskBytes, isolation }, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      const { code, message } = PyroError.from(thrown);
      log.warn("template.unavailable", { code, reason: message, isolation });
      return undefined;
    }
  }
}

/** Nothing a template could be blamed for, and a cold boot would meet it too. */
const hostFault: ReadonlySet<string> = new Set<PyroError["code"]>([
  "QEMU_NOT_FOUND",
  "HOST_TOOL_NOT_FOUND",
  "RUNTIME_BUNDLE_MISSING",
  "RUNTIME_BUNDLE_DAMAGED",
  "DISK_FULL",
  "STATE_NOT_WRITABLE",
  "TOO_MANY_FILES",
]);
