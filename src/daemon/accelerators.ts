import { untilAborted, type Logger } from "../kit/index.js";
import {
  chooseAccelerator,
  type AcceleratorVerdict,
  type BootProbe,
  type Isolation,
  type RuntimeBundle,
  type VmmDriver,
} from "../vmm/index.js";
import { stopping } from "../workspace/index.js";
import type { AcceleratorFinding } from "./doctor.js";
import type { Machines } from "./machines.js";

export interface AcceleratorsOptions {
  readonly machines: Machines;
  readonly driver: VmmDriver;
  readonly bundle: () => Promise<Pick<RuntimeBundle, "digest">>;
  readonly qemuVersion: () => Promise<string>;
  readonly cacheDirectory: string;
  readonly log: Logger;
  /** Default: /dev/kvm. */
  readonly kvmDevice?: string;
}

/** The probe needs a kernel and the agent, nothing else. */
const PROBE_MEM_MIB = 256;

/** Which accelerator this host has: probed once, however many ask, and again for the doctor. Disposing of it ends a probe. */
export class Accelerators implements AsyncDisposable {
  readonly #closing = new AbortController();
  #verdict: Promise<AcceleratorVerdict> | undefined;
  #known: Isolation | undefined;

  constructor(private readonly options: AcceleratorsOptions) {}

  /** What was chosen, where it is known already. */
  get known(): Isolation | undefined {
    return this.#known;
  }

  /** @throws {PyroError} NO_ACCELERATOR, QEMU_NOT_FOUND, RUNTIME_BUNDLE_…; a failure is not kept */
  async verdict(signal: AbortSignal): Promise<AcceleratorVerdict> {
    signal.throwIfAborted();
    return await untilAborted((this.#verdict ??= this.#chooseOnce()), signal);
  }

  /** Not by a caller's signal: others wait for the same probe, and whoever asks next has it made already. */
  #chooseOnce(): Promise<AcceleratorVerdict> {
    const verdict = this.#choose(false, this.#closing.signal);
    verdict.catch(() => {
      if (this.#verdict === verdict) this.#verdict = undefined;
    });
    return verdict;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(stopping());
    await Promise.allSettled([this.#verdict]);
  }

  /** Probes each accelerator anew. */
  async examine(signal: AbortSignal): Promise<AcceleratorFinding[]> {
    const verdict = await this.#choose(true, signal);
    this.#verdict = Promise.resolve(verdict);
    return verdict.accelerators.map(({ name, usable, reason, bootMs }) => ({
      name,
      usable,
      reason,
      bootMs: Math.round(bootMs ?? 0),
      chosen: name === verdict.chosen,
    }));
  }

  async #choose(force: boolean, signal: AbortSignal): Promise<AcceleratorVerdict> {
    const { driver, bundle, qemuVersion, cacheDirectory, log, kvmDevice } = this.options;
    const verdict = await chooseAccelerator({
      bootProbe: this.#probe,
      isolations: driver.capabilities.isolations,
      cacheDirectory,
      qemuVersion: await qemuVersion(),
      bundleDigest: (await bundle()).digest,
      ...{ force, signal },
      ...(kvmDevice === undefined ? {} : { kvmDevice }),
    });
    this.#known = verdict.chosen;
    log.info("accelerator", { ...verdict });
    return verdict;
  }

  readonly #probe: BootProbe = async (isolation, { signal, timeoutMs }) => {
    await using booted = await this.options.machines.boot(
      {
        kind: "probe",
        vcpuCount: 1,
        memMib: PROBE_MEM_MIB,
        isolation,
        disks: () => Promise.resolve([]),
        timeoutMs,
      },
      signal,
    );
    return { bootMs: booted.bootMs };
  };
}
