import { PyroError } from "../protocol/index.js";
import type { AcceleratorVerdict, Isolation } from "../vmm/index.js";
import type { Configuration } from "./configuration.js";

/**
 * How machines of users run: by the accelerator of this host, as far as the configuration lets it. The probes by which
 * that is found are not asked.
 * @throws {PyroError} ISOLATION_NOT_AVAILABLE where KVM is required and does not work; what the verdict throws
 */
export function requiredIsolation(
  accelerators: { verdict(signal: AbortSignal): Promise<AcceleratorVerdict> },
  { path, settings }: Configuration,
): (signal: AbortSignal) => Promise<Isolation> {
  return async (signal) => {
    const { chosen, accelerators: found } = await accelerators.verdict(signal);
    if (settings.require_isolation !== "kvm" || chosen === "kvm") return chosen;
    const reason = found.find(({ name }) => name === "kvm")?.reason ?? "it was not examined";
    throw new PyroError(
      "ISOLATION_NOT_AVAILABLE",
      `${path} requires KVM, and this host has only software emulation: ${reason}`,
      {
        hint: "`pyro doctor` says how to get KVM; without require_isolation the same machine runs under emulation, once `pyro daemon stop` was run",
        details: { required: "kvm", available: chosen },
      },
    );
  };
}
