import { rm } from "node:fs/promises";
import { join } from "node:path";
import { failpoint } from "../kit/index.js";
import type { Holder } from "../vmm/index.js";
import type { CapturedMachine } from "../workspace/index.js";
import { ROOT_DISK } from "./disks.js";
import type { BootedMachine } from "./machines.js";
import { standStill } from "./still-machine.js";
import { requireOwnMemory, type SavedMachines } from "./saved-machines.js";

/** What machines go on from. */
export interface Captured extends CapturedMachine {
  readonly holder: Holder;
  readonly savedAs: string;
}

/**
 * Stops a machine, gives its root a layer that is there already, saves its devices, copies its memory once, and lets it
 * go on.
 * @throws {PyroError} VM_SAVE_FAILED, MEMORY_FULL, DISK_FULL, VM_UNRESPONSIVE; it goes on all the same
 */
export async function captureMachine(
  booted: BootedMachine,
  saved: SavedMachines,
  layer: { readonly overlay: string; readonly name: string },
  whileStill: () => Promise<void>,
): Promise<Captured> {
  const { machine, savedAs, directory } = booted;
  requireOwnMemory(machine, savedAs);
  const stateFile = join(directory, `${layer.name}.state`);
  let holder: Holder | undefined;
  const still = await standStill(booted);
  const stoppedAt = performance.now();
  try {
    // Before the state is saved: then QEMU lets go of the disks until it goes on.
    await machine.putLayer(ROOT_DISK, layer.overlay, layer.name);
    await machine.save(stateFile);
    failpoint("fork.saved");
    holder = await saved.take(booted, stateFile);
    await whileStill();
  } catch (error) {
    await holder?.[Symbol.asyncDispose]();
    // One that cannot go on is ended, which its watch says.
    await still.wake().catch(() => machine.kill());
    throw error;
  } finally {
    await rm(stateFile, { force: true });
  }
  await still.wake().catch(async (error: unknown) => {
    await holder[Symbol.asyncDispose]();
    await machine.kill();
    throw error;
  });
  const pauseMs = performance.now() - stoppedAt;
  const { usedBytes } = holder.digests.memory;
  return {
    ...{ holder, savedAs, usedBytes, pauseMs },
    store: (directory, signal) => saved.storeTaken(holder, savedAs, directory, signal),
    [Symbol.asyncDispose]: holder[Symbol.asyncDispose].bind(holder),
  };
}
