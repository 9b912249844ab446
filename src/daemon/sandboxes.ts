import { join } from "node:path";
import { startProcess } from "../guest/index.js";
import {
  IMAGE_VIRTUAL_BYTES,
  type EnvironmentPulls,
  type EnvironmentStore,
  type InstalledImage,
} from "../image/index.js";
import { complete, type Logger } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { Disk, Isolation } from "../vmm/index.js";
import type { Sandbox, SandboxFactory, SandboxSpec } from "../workspace/index.js";
import { giveIdentity } from "./identity.js";
import type { ImagesInUse } from "./images-in-use.js";
import { watchMachine } from "./machine-watch.js";
import type { BootedMachine } from "./machines.js";
import type { Templates } from "./templates.js";

export interface SandboxesOptions {
  readonly templates: Templates;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
  readonly store: EnvironmentStore;
  readonly pulls: EnvironmentPulls;
  readonly inUse: ImagesInUse;
  readonly log: Logger;
}

type OpenOptions = Parameters<SandboxFactory["open"]>[1];

/** Sandboxes of real machines: an overlay on the environment's image, a start, an identity given, the root mounted. */
export function sandboxes(options: SandboxesOptions): SandboxFactory {
  return {
    open: async (spec, open) => {
      const startedAt = performance.now();
      open.onPhase?.({ phase: "queued", message: "waiting for a machine" });
      const image = await requireImage(options, spec, open);
      const isolation = await options.isolation(open.signal);
      const held = options.inUse.hold(image.digest);
      try {
        const booted = await options.templates.start(
          {
            kind: "one-shot",
            vcpuCount: spec.vcpuCount,
            memMib: spec.memMib,
            isolation,
            disks: async (directory) => [await makeOverlay(image.path, join(directory, "root.qcow2"))],
            diskBytes: [IMAGE_VIRTUAL_BYTES],
            onBooting: () => open.onPhase?.({ phase: "booting", message: `a machine starts (${isolation})` }),
          },
          open.signal,
        );
        await prepareGuest(booted, open.signal);
        return toSandbox(booted, Math.round((performance.now() - startedAt) * 1000), held, options.log);
      } catch (error) {
        held[Symbol.dispose]();
        throw error;
      }
    },
  };
}

/** The environment's image, made first where it is missing and the caller allows that; a damaged one is an error. */
async function requireImage(
  { store, pulls }: SandboxesOptions,
  { environment, noPull }: SandboxSpec,
  { signal, onPhase }: OpenOptions,
): Promise<InstalledImage> {
  try {
    return await store.require(environment);
  } catch (error) {
    if (noPull || !(error instanceof PyroError) || error.code !== "ENVIRONMENT_NOT_PULLED") throw error;
  }
  await pulls.pull(environment, {
    signal,
    onProgress: ({ message, phase, bytesDone, bytesTotal }) =>
      onPhase?.({
        phase: "pulling",
        message: `${phase}: ${message}`,
        ...(bytesTotal > 0 ? { progress: bytesDone / bytesTotal } : {}),
      }),
  });
  return await store.require(environment);
}

/** A writable layer over a read-only image, of the one size that a template's disk has. Both formats are stated; the guest can forge neither. */
async function makeOverlay(imagePath: string, path: string): Promise<Disk> {
  const backing = { path: imagePath, format: "qcow2" } as const;
  const overlay = ["-F", backing.format, "-b", imagePath, path, String(IMAGE_VIRTUAL_BYTES)];
  const args = ["create", "-q", "-f", "qcow2", ...overlay];
  const { code, stderrTail } = await complete("qemu-img", args);
  if (code !== 0) {
    const full = /No space left/i.test(stderrTail);
    throw new PyroError(
      full ? "DISK_FULL" : "VM_START_FAILED",
      `the machine's disk cannot be made: ${stderrTail.trim()}`,
      {
        hint: full
          ? "free some space (`pyro env prune`), then try again"
          : "`pyro doctor` examines this host",
        retryable: full,
      },
    );
  }
  return { path, format: "qcow2", readOnly: false, backing };
}

/** Clock, entropy and identity before the first command, and the root directory. When it fails the machine is gone. */
async function prepareGuest(booted: BootedMachine, signal: AbortSignal): Promise<void> {
  try {
    await giveIdentity(booted.guest, signal);
    await booted.guest.system.mountRoot(
      { device: "/dev/vda", filesystem: "ext4", createWorkspace: true },
      { signal, timeoutMs: LIMITS.agentCallTimeoutMs },
    );
  } catch (error) {
    await booted[Symbol.asyncDispose]();
    throw error;
  }
}

function toSandbox(booted: BootedMachine, startupUs: number, held: Disposable, log: Logger): Sandbox {
  const { machine } = booted;
  const over = new AbortController();
  let commands = 0;
  return {
    isolation: machine.isolation,
    guestKernel: booted.guest.hello.kernelRelease,
    startupUs,
    lost: watchMachine(machine, over.signal, log),
    start: async (spec) => {
      commands += 1;
      return await startProcess(
        booted.guest,
        { ...spec, processId: `command-${commands}` },
        { reconnect: (signal) => booted.reconnect(signal) },
      );
    },
    [Symbol.asyncDispose]: async () => {
      over.abort();
      await booted[Symbol.asyncDispose]();
      held[Symbol.dispose]();
    },
  };
}
