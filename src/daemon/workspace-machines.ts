import { link } from "node:fs/promises";
import { join } from "node:path";
import { followProcess, GuestShells, startProcess, type StartOptions } from "../guest/index.js";
import { imagePath, type ImageLayout } from "../image/index.js";
import { within, type Logger } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { Isolation } from "../vmm/index.js";
import type { Hindrance, WorkspaceMachine, WorkspaceMachines, WorkspaceShape } from "../workspace/index.js";
import { ROOT_DISK } from "./disks.js";
import { guestFiles } from "./guest-files.js";
import { guestServices } from "./guest-services.js";
import { setClock } from "./identity.js";
import type { ImagesInUse } from "./images-in-use.js";
import { watchMachine } from "./machine-watch.js";
import type { BootedMachine, Machines } from "./machines.js";
import { ROOT_LAYER, type ReadyMachine, type ReadyMachines } from "./ready-machine.js";
import type { Overlays } from "./overlay.js";
import { openReady, type SandboxesOptions } from "./sandboxes.js";
import {
  activeLayer,
  baselineLayer,
  letGoOfWrites,
  putLayer,
  renewActive,
  sealBaseline,
} from "./workspace-disk.js";

export interface WorkspaceMachinesOptions extends SandboxesOptions {
  readonly ready: ReadyMachines;
  readonly machines: Machines;
  readonly inUse: ImagesInUse;
  readonly overlays: Overlays;
  readonly layout: ImageLayout;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
  readonly log: Logger;
}

/**
 * Machines that workspaces live in. The layers of a workspace's disk are its own files; a machine's directory only has
 * other names of them, which go with it.
 */
export function workspaceMachines(options: WorkspaceMachinesOptions): WorkspaceMachines {
  const { ready, machines, inUse, overlays, layout } = options;
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
        machine: toWorkspaceMachine(machine, machine.booted, options),
        imageDigest: image.digest,
        seal: async () => {
          using _turn = await ready.turnToFinish();
          await sealBaseline(machine.booted, overlays, image.path, layers);
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
      return toWorkspaceMachine(opened, opened.booted, options);
    },
    adopt: async (machineId, { isolation }) => {
      const booted = await machines.adopt(machineId, isolation);
      if (booted === undefined) return undefined;
      await letGoOfWrites(booted);
      return toWorkspaceMachine(booted, booted, options);
    },
    renew: async (layers) => {
      await renewActive(overlays, layers, imagePath(layout, layers.imageDigest));
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

function toWorkspaceMachine(
  owner: ReadyMachine | BootedMachine,
  booted: BootedMachine,
  { log, layout, overlays }: Pick<WorkspaceMachinesOptions, "log" | "layout" | "overlays">,
): WorkspaceMachine {
  const { machine } = booted;
  const over = new AbortController();
  let hindrance: Hindrance | undefined;
  const options = {
    reconnect: async (signal?: AbortSignal) => {
      // The line of a machine that was let go of is the next daemon's.
      over.signal.throwIfAborted();
      return await booted.reconnect(signal);
    },
  } satisfies StartOptions;
  const end = async (): Promise<void> => {
    over.abort();
    await owner[Symbol.asyncDispose]();
  };
  return {
    id: machine.id,
    isolation: machine.isolation,
    guestKernel: booted.guest.hello.kernelRelease,
    pid: machine.pid,
    get hindrance() {
      return hindrance;
    },
    lost: watchMachine(machine, over.signal, log, (seen) => (hindrance = seen)),
    files: guestFiles(booted),
    services: guestServices(booted, over.signal),
    shells: new GuestShells({ connection: () => booted.guest, reconnect: () => options.reconnect() }),
    start: async (spec) => await startProcess(booted.guest, spec, options),
    follow: async (processId, from) => await followProcess(booted.guest, processId, from, options),
    forget: async (processId) => {
      await booted.guest.control.remove({ processId });
    },
    kill: async (processId) => {
      await booted.guest.control.signal({ processId, signal: "SIGKILL", wholeTree: true });
    },
    setClock: async () => await setClock(booted.guest, over.signal),
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
    putLayer: async (layers, name) => {
      await putLayer(booted, overlays, imagePath(layout, layers.imageDigest), layers, name);
    },
    topLayer: () => machine.topLayer(ROOT_DISK),
    release: async () => {
      over.abort();
      await booted.release();
    },
    [Symbol.asyncDispose]: end,
  };
}
