import { link } from "node:fs/promises";
import { join } from "node:path";
import {
  followProcess,
  GuestShells,
  startProcess,
  type GuestProcess,
  type StartOptions,
} from "../guest/index.js";
import { imagePath, type ImageLayout } from "../image/index.js";
import { failpoint, within, type Logger } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { imageFiles, type Isolation } from "../vmm/index.js";
import type {
  Hindrance,
  RunningCommand,
  WorkspaceLayers,
  WorkspaceMachine,
  WorkspaceMachines,
  WorkspaceShape,
} from "../workspace/index.js";
import type { AgentLine } from "./agent-line.js";
import { captureMachine, type Captured } from "./capture.js";
import { ROOT_DISK } from "./disks.js";
import { guestFiles } from "./guest-files.js";
import { guestNetwork } from "./guest-network.js";
import { guestServices } from "./guest-services.js";
import { setClock } from "./identity.js";
import type { ImagesInUse } from "./images-in-use.js";
import { heldUp, watchMachine } from "./machine-watch.js";
import type { BootedMachine, Machines } from "./machines.js";
import { standStill } from "./still-machine.js";
import { requireOwnMemory, type SavedMachines } from "./saved-machines.js";
import { ROOT_LAYER, type ReadyMachine, type ReadyMachines } from "./ready-machine.js";
import type { Overlays } from "./overlay.js";
import { openReady, type SandboxesOptions } from "./sandboxes.js";
import {
  activeLayer,
  baselineLayer,
  flush,
  letGoOfWrites,
  makeLayer,
  putLayer,
  renewActive,
  sealBaseline,
} from "./workspace-disk.js";

export interface WorkspaceMachinesOptions extends SandboxesOptions {
  readonly saved: SavedMachines;
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
  /** Its machine's shape and disks, over layers that are there. */
  const placeOf = async (shape: WorkspaceShape, layers: WorkspaceLayers, signal: AbortSignal) => {
    const image = { digest: layers.imageDigest, path: imagePath(layout, layers.imageDigest) };
    return {
      ...(await shapeOf(options, shape, signal)),
      image,
      disks: [
        { ...activeLayer(layers, image.path), readOnly: false },
        { ...baselineLayer(layers, image.path), readOnly: true },
      ],
    };
  };
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
        ...(image.config === undefined ? {} : { config: image.config }),
        seal: async () => {
          using _turn = await ready.turnToFinish();
          await sealBaseline(machine.booted, overlays, image.path, layers);
        },
      };
    },
    open: async (shape, layers, { signal, onPhase }) => {
      onPhase?.({ phase: "booting", message: "its machine starts" });
      const opened = await ready.makeOver(await placeOf(shape, layers, signal), signal);
      return toWorkspaceMachine(opened, opened.booted, options);
    },
    resume: async (shape, layers, from, { signal, onPhase }) => {
      onPhase?.({ phase: "booting", message: "its machine goes on" });
      const revived = await ready.revive(await placeOf(shape, layers, signal), from, signal);
      return toWorkspaceMachine(revived, revived.booted, options);
    },
    branch: async (shape, layers, captured, { signal, onPhase }) => {
      onPhase?.({ phase: "booting", message: "its machine goes on" });
      const place = await placeOf(shape, layers, signal);
      const branched = await ready.branch(place, captured as Captured, signal);
      return toWorkspaceMachine(branched, branched.booted, options);
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

/** Input goes in while the line is there, and holds it. */
function heard(line: AgentLine, command: GuestProcess): RunningCommand {
  return {
    output: command.output,
    exit: command.exit,
    writeInput: async (data) => await line.duringInput(async () => await command.writeInput(data)),
    endInput: async () => await line.duringInput(async () => await command.endInput()),
    signal: async (name) => await line.during(async () => await command.signal(name)),
  };
}

/** Whoever still uses it learns from its workspace what became of it. */
function letGo(): PyroError {
  return new PyroError("GUEST_DISCONNECTED", "the machine was let go of", { hint: "call again" });
}

function toWorkspaceMachine(
  owner: ReadyMachine | BootedMachine,
  booted: BootedMachine,
  { log, layout, overlays, saved }: Pick<WorkspaceMachinesOptions, "log" | "layout" | "overlays" | "saved">,
): WorkspaceMachine {
  const { machine, line } = booted;
  const over = new AbortController();
  let hindrance: Hindrance | undefined;
  const options = {
    reconnect: async (signal?: AbortSignal) => {
      // The line of a machine that was let go of is the next daemon's.
      over.signal.throwIfAborted();
      return await booted.reconnect(signal);
    },
  } satisfies StartOptions;
  /** Work that waits for the guest's disk to be flushed. */
  const flushing = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw heldUp(error, hindrance);
    }
  };
  const end = async (): Promise<void> => {
    over.abort(letGo());
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
    network: guestNetwork(booted, over.signal, log),
    shells: new GuestShells({ connection: () => booted.guest, reconnect: () => options.reconnect() }),
    start: async (spec) =>
      heard(line, await line.during(async (guest) => await startProcess(guest, spec, options))),
    follow: async (processId, from) =>
      heard(line, await line.during(async (guest) => await followProcess(guest, processId, from, options))),
    forget: async (processId) => {
      await line.during(async ({ control }) => await control.remove({ processId }));
    },
    kill: async (processId) => {
      await line.during(async ({ control }) => {
        await control.signal({ processId, signal: "SIGKILL", wholeTree: true });
      });
    },
    capture: async (layers, name, whileStill) => {
      const path = imagePath(layout, layers.imageDigest);
      const overlay = await makeLayer(booted, overlays, path, layers, name);
      const captured = await captureMachine(booted, saved, { overlay, name }, whileStill);
      const { pauseMs, usedBytes } = captured;
      log.info("workspace.captured", { machine: machine.id, pauseMs: Math.round(pauseMs), usedBytes });
      return captured;
    },
    suspend: async (directory) => {
      requireOwnMemory(machine, booted.savedAs);
      // Whoever gives the memory up loses nothing that was written.
      await flushing(() => flush(booted));
      const still = await standStill(booted);
      try {
        await machine.save(imageFiles(directory).stateFile);
        failpoint("suspend.saved");
        await saved.store(booted, directory);
      } catch (error) {
        // One that cannot go on is ended, which its watch says.
        await still.wake().catch(() => machine.kill());
        throw error;
      }
      return { wake: () => still.wake() };
    },
    flush: async () => await flush(booted),
    setClock: async () => await setClock(booted.guest, over.signal),
    shutDown: async () => {
      try {
        over.abort(letGo());
        await booted.guest.system.shutdown({ graceMs: LIMITS.killGraceMs }, { timeoutMs: LIMITS.shutDownMs });
        await within(machine.exited, LIMITS.shutDownMs, "the machine's end");
      } catch (error) {
        log.warn("workspace.not-shut-down", { machine: machine.id, error: PyroError.from(error).message });
      } finally {
        await end();
      }
    },
    putLayer: async (layers, name) => {
      const path = imagePath(layout, layers.imageDigest);
      await flushing(() => putLayer(booted, overlays, path, layers, name));
    },
    topLayer: () => machine.topLayer(ROOT_DISK),
    release: async () => {
      over.abort(letGo());
      await booted.release();
    },
    [Symbol.asyncDispose]: end,
  };
}
