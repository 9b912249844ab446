import { chmod, chown, link, rename } from "node:fs/promises";
import { join } from "node:path";
import { followProcess, startProcess, type StartOptions } from "../guest/index.js";
import { imagePath, type ImageLayout } from "../image/index.js";
import { freshId, within, type Logger } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { DiskLayer, Isolation } from "../vmm/index.js";
import type { WorkspaceMachine, WorkspaceMachines, WorkspaceShape } from "../workspace/index.js";
import { BASELINE_DISK, ROOT_DISK } from "./disks.js";
import { guestFiles } from "./guest-files.js";
import type { ImagesInUse } from "./images-in-use.js";
import { watchMachine } from "./machine-watch.js";
import type { BootedMachine, Machines } from "./machines.js";
import { ROOT_LAYER, type ReadyMachine, type ReadyMachines } from "./ready-machine.js";
import type { Overlays } from "./overlay.js";
import { openReady, type SandboxesOptions } from "./sandboxes.js";

export interface WorkspaceMachinesOptions extends SandboxesOptions {
  readonly ready: ReadyMachines;
  readonly machines: Machines;
  readonly inUse: ImagesInUse;
  readonly overlays: Overlays;
  readonly layout: ImageLayout;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
  readonly log: Logger;
}

/** In a machine's directory, before it is linked to where it stays: QEMU finds files by names relative to that. */
const ACTIVE_LAYER = "active.qcow2";

/**
 * Machines that workspaces live in. The layers of a workspace's disk are its own files; a machine's directory only has
 * other names of them, which go with it.
 */
export function workspaceMachines(options: WorkspaceMachinesOptions): WorkspaceMachines {
  const { ready, machines, inUse, overlays, layout, log } = options;
  return {
    make: async (shape, layers, open) => {
      const { machine, image } = await openReady(options, { ...shape, savable: true }, open);
      try {
        await link(join(machine.booted.directory, ROOT_LAYER), layers.baseline);
      } catch (error) {
        await machine[Symbol.asyncDispose]();
        throw error;
      }
      return {
        machine: toWorkspaceMachine(machine, machine.booted, log),
        imageDigest: image.digest,
        seal: async () => {
          using _turn = await ready.turnToFinish();
          await seal(machine.booted, overlays, image.path, layers);
        },
      };
    },
    open: async (shape, layers, { signal, onPhase }) => {
      const image = { digest: layers.imageDigest, path: imagePath(layout, layers.imageDigest) };
      onPhase?.({ phase: "booting", message: "its machine starts" });
      const opened = await ready.makeOver(
        {
          ...(await shapeOf(options, shape, signal)),
          image,
          disks: [
            { ...activeLayer(layers, image.path), readOnly: false },
            { ...baselineLayer(layers, image.path), readOnly: true },
          ],
        },
        signal,
      );
      return toWorkspaceMachine(opened, opened.booted, log);
    },
    adopt: async (machineId, { isolation }) => {
      const booted = await machines.adopt(machineId, isolation);
      return booted === undefined ? undefined : toWorkspaceMachine(booted, booted, log);
    },
    renew: async (layers) => {
      const fresh = `${layers.active}.${freshId("new")}`;
      await overlays.make(baselineLayer(layers, imagePath(layout, layers.imageDigest)), fresh);
      await rename(fresh, layers.active);
    },
    holdImage: (digest) => inUse.hold(digest),
  };
}

async function shapeOf(
  { isolation }: WorkspaceMachinesOptions,
  { vcpuCount, memMib }: WorkspaceShape,
  signal: AbortSignal,
): Promise<{ vcpuCount: number; memMib: number; isolation: Isolation }> {
  return { vcpuCount, memMib, isolation: await isolation(signal) };
}

function baselineLayer({ baseline }: { baseline: string }, imagePath: string): DiskLayer {
  return { path: baseline, format: "qcow2", backing: { path: imagePath, format: "qcow2" } };
}

function activeLayer(layers: { baseline: string; active: string }, imagePath: string): DiskLayer {
  return { path: layers.active, format: "qcow2", backing: baselineLayer(layers, imagePath) };
}

/**
 * Ends the first layer while the machine runs: the guest flushes and holds its writes, QEMU puts an empty layer on top
 * and shows what is below in the second disk's slot. Root in the guest cannot reach the file any more, except to read.
 */
async function seal(
  { guest, machine, directory }: BootedMachine,
  overlays: Overlays,
  imagePath: string,
  layers: { readonly baseline: string; readonly active: string },
): Promise<void> {
  const overlay = join(directory, ACTIVE_LAYER);
  await overlays.make(baselineLayer(layers, imagePath), overlay);
  await link(overlay, layers.active);
  const call = { timeoutMs: LIMITS.agentCallTimeoutMs };
  await guest.system.holdWrites({ hold: true, maxMs: LIMITS.holdWritesMs }, call);
  let wasHeld = false;
  try {
    await machine.sealDisk(ROOT_DISK, BASELINE_DISK, overlay);
  } finally {
    ({ wasHeld } = await guest.system.holdWrites({ hold: false }, call));
  }
  if (!wasHeld) {
    throw new PyroError("VM_UNRESPONSIVE", "the guest went on writing before its baseline was sealed", {
      hint: "is the host overloaded? create the workspace again",
      retryable: true,
    });
  }
  // Later machines run as other users; they read it, and nobody writes it again.
  const uid = process.getuid?.() ?? 0;
  await chown(layers.baseline, uid, process.getgid?.() ?? 0);
  await chmod(layers.baseline, 0o444);
}

function toWorkspaceMachine(
  owner: ReadyMachine | BootedMachine,
  booted: BootedMachine,
  log: Logger,
): WorkspaceMachine {
  const { machine } = booted;
  const over = new AbortController();
  const options: StartOptions = {
    reconnect: async (signal) => {
      // The line of a machine that was let go of is the next daemon's.
      over.signal.throwIfAborted();
      return await booted.reconnect(signal);
    },
  };
  const end = async (): Promise<void> => {
    over.abort();
    await owner[Symbol.asyncDispose]();
  };
  return {
    id: machine.id,
    isolation: machine.isolation,
    guestKernel: booted.guest.hello.kernelRelease,
    lost: watchMachine(machine, over.signal, log),
    files: guestFiles(booted),
    start: async (spec) => await startProcess(booted.guest, spec, options),
    follow: async (processId, from) => await followProcess(booted.guest, processId, from, options),
    forget: async (processId) => {
      await booted.guest.control.remove({ processId });
    },
    kill: async (processId) => {
      await booted.guest.control.signal({ processId, signal: "SIGKILL", wholeTree: true });
    },
    shutDown: async () => {
      try {
        over.abort();
        await booted.guest.system.shutdown({ graceMs: LIMITS.killGraceMs }, { timeoutMs: LIMITS.shutDownMs });
        await within(machine.exited, LIMITS.shutDownMs, "the machine's end");
      } catch (error) {
        log.warn("workspace.not-shut-down", { machine: machine.id, error: PyroError.from(error).message });
      } finally {
        await end();
      }
    },
    release: async () => {
      over.abort();
      await booted.release();
    },
    [Symbol.asyncDispose]: end,
  };
}
