import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { startProcess, type GuestConnection, type GuestProcess } from "../guest/index.js";
import { complete, type Logger } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { Disk, Isolation } from "../vmm/index.js";
import type { CommandSpec, Phase, RunningCommand, Sandbox, SandboxFactory, SandboxSpec } from "../workspace/index.js";
import type { BootedMachine, Machines } from "./machines.js";

export interface SandboxesOptions {
  readonly machines: Machines;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
  /** The environment's read-only image, made first where `noPull` allows it. */
  readonly image: (
    spec: SandboxSpec,
    options: { readonly signal: AbortSignal; readonly onPhase?: ((phase: Phase) => void) | undefined },
  ) => Promise<string>;
  readonly log: Logger;
}

/** Sandboxes of real machines: an overlay on the environment's image, a boot, the root mounted, an identity given. */
export function sandboxes(options: SandboxesOptions): SandboxFactory {
  return {
    open: async (spec, { signal, onPhase }) => {
      const startedAt = performance.now();
      onPhase?.({ phase: "queued", message: "waiting for a machine" });
      const imagePath = await options.image(spec, { signal, onPhase });
      const isolation = await options.isolation(signal);
      const booted = await options.machines.boot(
        {
          kind: "one-shot",
          vcpuCount: spec.vcpuCount,
          memMib: spec.memMib,
          isolation,
          disks: async (directory) => [await makeOverlay(imagePath, join(directory, "root.qcow2"))],
          onBooting: () => onPhase?.({ phase: "booting", message: `a machine boots (${isolation})` }),
        },
        signal,
      );
      try {
        await prepareGuest(booted.guest, signal);
      } catch (error) {
        await booted[Symbol.asyncDispose]();
        throw error;
      }
      return toSandbox(booted, Math.round((performance.now() - startedAt) * 1000));
    },
  };
}

/** A writable layer over a read-only image. Both formats are stated; the guest can forge neither. */
async function makeOverlay(imagePath: string, path: string): Promise<Disk> {
  const backing = { path: imagePath, format: "qcow2" } as const;
  const args = ["create", "-q", "-f", "qcow2", "-F", backing.format, "-b", imagePath, path];
  const { code, stderrTail } = await complete("qemu-img", args);
  if (code !== 0) {
    const full = /No space left/i.test(stderrTail);
    throw new PyroError(full ? "DISK_FULL" : "VM_START_FAILED", `the machine's disk cannot be made: ${stderrTail.trim()}`, {
      hint: full ? "free some space (`pyro env prune`), then try again" : "`pyro doctor` examines this host",
      retryable: full,
    });
  }
  return { path, format: "qcow2", readOnly: false, backing };
}

/** Clock, entropy and identity before the first command, and the root directory. */
async function prepareGuest(guest: GuestConnection, signal: AbortSignal): Promise<void> {
  const call = { signal, timeoutMs: LIMITS.agentCallTimeoutMs };
  const machineId = randomBytes(16).toString("hex");
  await guest.system.mountRoot({ device: "/dev/vda", filesystem: "ext4", createWorkspace: true }, call);
  await guest.system.personalize(
    {
      unixNanos: BigInt(Date.now()) * 1_000_000n,
      entropy: randomBytes(64),
      hostname: `pyro-${machineId.slice(0, 8)}`,
      machineId,
    },
    call,
  );
}

function toSandbox(booted: BootedMachine, startupUs: number): Sandbox {
  const { machine } = booted;
  let commands = 0;
  return {
    isolation: machine.isolation,
    guestKernel: booted.guest.hello.kernelRelease,
    startupUs,
    lost: machine.exited.then(async ({ code, signal }) => {
      const { consoleTail, stderrTail } = await machine.diagnostics();
      return new PyroError("VM_CRASHED", `the machine ended by itself (${signal ?? `exit ${code ?? "unknown"}`})`, {
        hint: "try again; if it stays, `pyro doctor` examines this host",
        details: { console_tail: consoleTail, stderr_tail: stderrTail },
        retryable: true,
      });
    }),
    start: async (spec) => {
      commands += 1;
      return toCommand(await startProcess(booted.guest, toGuestSpec(`command-${commands}`, spec), reconnecting(booted)));
    },
    [Symbol.asyncDispose]: () => booted[Symbol.asyncDispose](),
  };
}
