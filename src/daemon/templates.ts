import type { PruneResult } from "../image/index.js";
import type { Logger } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import {
  ownMemory,
  TemplateStore,
  type Disk,
  type DiskSlot,
  type Isolation,
  type MountedImage,
  type OwnMemory,
  type RuntimeBundle,
  type Template,
  type TemplateReadiness,
  type TemplateShape,
  type VmmDriver,
} from "../vmm/index.js";
import type { ImagesInUse } from "./images-in-use.js";
import { lostWhilePrepared } from "./machine-watch.js";
import type { BootedMachine, BootRequest, Machines } from "./machines.js";
import { requireMemory } from "./memory.js";
import type { Overlays } from "./overlay.js";
import { buildTemplate, mountTemplate } from "./template-build.js";
import { diskUsage } from "./usage.js";

export interface TemplatesOptions {
  readonly machines: Machines;
  readonly driver: VmmDriver;
  readonly bundle: () => Promise<Pick<RuntimeBundle, "digest" | "holderPath">>;
  readonly overlays: Overlays;
  readonly inUse: ImagesInUse;
  /** One directory per template below it. */
  readonly directory: string;
  readonly log: Logger;
}

export interface RestoreRequest extends Omit<
  BootRequest,
  "memoryFile" | "restore" | "savedAs" | "beforeRun" | "disks"
> {
  /** Makes or names the disks, given the machine's own directory, and what the root's layer is to begin with. */
  readonly disks: (directory: string, begun?: Buffer) => Promise<readonly (Disk | DiskSlot)[]>;
  /** What its root is an empty layer over: it goes on from a template with that mounted, where one stands. */
  readonly environment?: MountedImage;
  /** Virtual size of each of its disks. */
  readonly diskBytes: readonly number[];
  /** Goes on in a memory of its own, where the host has room for it, so that the machine can be saved at once later. */
  readonly savable?: boolean;
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
      build: async (shape, files, signal, base) => {
        const { holderPath } = await bundle();
        const { mounted: image } = shape;
        // All of it is written to, once, where it boots.
        await requireMemory(base?.usedBytes ?? shape.memMib * 1024 ** 2);
        const built =
          base === undefined || image === undefined
            ? buildTemplate(machines, holderPath, shape, files, signal)
            : mountTemplate({ ...options, holderPath }, shape, { image, base }, files, signal);
        await built.catch((error: unknown) => {
          throw lostWhilePrepared(error);
        });
      },
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
        { hint: "nothing needs to be prepared here: each machine boots by itself" },
      );
    }
    using _held = shape.mounted && this.options.inUse.hold(shape.mounted.digest);
    return await this.#store.prepare(shape, options.anew ?? false, signal);
  }

  /**
   * Has the template of a shape made for those who come later, where there is none. Only the signal ends it with an error;
   * what else went wrong stands in the log.
   */
  async prepareAhead(shape: TemplateShape, signal: AbortSignal): Promise<void> {
    using _held = shape.mounted && this.options.inUse.hold(shape.mounted.digest);
    const store = this.#store;
    const look = async () => (await store.find(shape, signal)) ?? (await store.require(shape, signal));
    (await this.#tryFor(shape, look, signal))?.[Symbol.dispose]();
  }

  /** Removes templates with an environment mounted whose image does not stand any more; gives what was freed. */
  async removeOrphans(stands: (image: string) => Promise<boolean>): Promise<PruneResult> {
    const { directory, log } = this.options;
    try {
      const before = await diskUsage(directory);
      const keys = await this.#store.removeOrphans(stands, AbortSignal.timeout(LIMITS.holdTimeoutMs));
      const freedBytes = keys.length === 0 ? 0 : Math.max(0, before - (await diskUsage(directory)));
      return { removed: keys.map((key) => `memory template ${key.slice(0, 12)}`), freedBytes };
    } catch (thrown) {
      const { code, message } = PyroError.from(thrown);
      log.warn("template.not-pruned", { code, reason: message });
      return { removed: [], freedBytes: 0 };
    }
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
    const { vcpuCount, memMib, diskBytes, isolation, environment: mounted } = request;
    const shape = { vcpuCount, memMib, diskBytes, isolation };
    for (const of of mounted === undefined ? [shape] : [{ ...shape, mounted }, shape]) {
      const restored = await this.#startFrom(of, request, signal);
      if (restored !== undefined) return restored;
    }
    return await this.options.machines.boot(request, signal);
  }

  /**
   * A machine that goes on from the template of the shape; undefined where there is none that could be used. Only one
   * with nothing mounted is made for it.
   */
  async #startFrom(
    shape: TemplateShape,
    request: RestoreRequest,
    signal: AbortSignal,
  ): Promise<BootedMachine | undefined> {
    const { machines, log } = this.options;
    const store = this.#store;
    const look = () =>
      shape.mounted === undefined ? store.require(shape, signal) : store.find(shape, signal);
    // Lent until the machine has answered: what it starts from cannot go meanwhile.
    using template = await this.#tryFor(shape, look, signal);
    if (template === undefined) return undefined;
    const { savedAs, saved: restore, layer } = template;
    const disks = (directory: string) => request.disks(directory, layer);
    try {
      await using own = await this.#memoryFor(request, template, signal);
      const memory = own === undefined ? {} : { memoryFile: own.memoryFile };
      return await machines.boot({ ...request, ...memory, disks, restore, savedAs }, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      const error = PyroError.from(thrown);
      if (hostFault.has(error.code)) throw error;
      log.warn("template.not-restored", { key: template.key, code: error.code, reason: error.message });
      await this.#store.discard(template, error);
      return undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]();
  }

  /** Names what a machine of the shape is saved as now, and what it can go on from. */
  keyOf(shape: TemplateShape): Promise<string> {
    return this.#store.keyOf(shape);
  }

  /** A copy of the template's memory; undefined where the machine is to map it privately. */
  async #memoryFor(
    { savable }: RestoreRequest,
    { saved, usedBytes }: Template,
    signal: AbortSignal,
  ): Promise<OwnMemory | undefined> {
    if (savable !== true) return undefined;
    try {
      await requireMemory(usedBytes);
      return await ownMemory((await this.options.bundle()).holderPath, saved.memoryFile, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      const { code, message } = PyroError.from(thrown);
      this.options.log.warn("memory.not-own", { code, reason: message });
      return undefined;
    }
  }

  /** A template of the shape, got so; where that fails, the log says why. */
  async #tryFor(
    { isolation, mounted }: TemplateShape,
    look: () => Promise<Template | undefined>,
    signal: AbortSignal,
  ): Promise<Template | undefined> {
    const { driver, log } = this.options;
    if (!driver.capabilities.memorySnapshots) return undefined;
    try {
      return await look();
    } catch (thrown) {
      signal.throwIfAborted();
      const { code, message } = PyroError.from(thrown);
      const image = mounted === undefined ? {} : { image: mounted.digest };
      log.warn("template.unavailable", { code, reason: message, isolation, ...image });
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
