import { copyFile } from "node:fs/promises";
import { PyroError } from "../protocol/index.js";
import {
  imageFiles,
  ownMemory,
  readImage,
  storeImage,
  takeImage,
  takeMachine,
  type Holder,
  type ImageManifest,
  type Machine,
  type RuntimeBundle,
} from "../vmm/index.js";
import type { BootedMachine, Machines } from "./machines.js";
import { requireMemory } from "./memory.js";
import type { RestoreRequest, Templates } from "./templates.js";

export interface SavedMachinesOptions extends Pick<Templates, "keyOf"> {
  readonly machines: Machines;
  readonly bundle: () => Promise<Pick<RuntimeBundle, "holderPath">>;
}

/** What a machine goes on from, besides a template. */
type GoOnRequest = Omit<RestoreRequest, "savable" | "environment">;

/** Memory of machines that users live in: saved, taken while they run, and gone on from. */
export class SavedMachines {
  constructor(private readonly options: SavedMachinesOptions) {}

  /** Writes the memory of a machine that stands still beside its state, as an image of that directory. */
  async store({ machine, savedAs }: BootedMachine, directory: string): Promise<ImageManifest> {
    const program = (await this.options.bundle()).holderPath;
    return await storeImage(program, directory, {
      memoryFile: requireOwnMemory(machine, savedAs),
      key: savedAs,
    });
  }

  /** The same of what `take` took of a machine, which runs on meanwhile. */
  async storeTaken(
    { saved }: Holder,
    savedAs: string,
    directory: string,
    signal: AbortSignal,
  ): Promise<void> {
    const program = (await this.options.bundle()).holderPath;
    await copyFile(saved.stateFile, imageFiles(directory).stateFile);
    await storeImage(program, directory, { memoryFile: saved.memoryFile, key: savedAs }, signal);
  }

  /**
   * A machine of the request that goes on from an image, once: where it was saved as what this host has now.
   * @throws {PyroError} SAVED_MEMORY_STALE, SAVED_MEMORY_DAMAGED, MEMORY_FULL, what a start throws
   */
  async revive(
    request: GoOnRequest,
    directory: string,
    signal: AbortSignal,
    beforeRun: () => Promise<void>,
  ): Promise<BootedMachine> {
    const savedAs = await this.options.keyOf(request);
    const image = await readImage(directory);
    await requireMemory(image?.memory.used_bytes ?? 0);
    const program = (await this.options.bundle()).holderPath;
    await using holder = await takeImage(program, directory, savedAs, { own: true, signal });
    const { memoryFile } = holder.saved;
    const start = { ...request, memoryFile, restore: holder.saved, savedAs, beforeRun };
    return await this.options.machines.boot(start, signal);
  }

  /**
   * Takes a machine that stands still, and whose state is saved, into memory.
   * @throws {PyroError} MEMORY_FULL, VM_SAVE_FAILED
   */
  async take({ machine, savedAs }: BootedMachine, stateFile: string): Promise<Holder> {
    const memoryFile = requireOwnMemory(machine, savedAs);
    return await takeMachine((await this.options.bundle()).holderPath, { memoryFile, stateFile });
  }

  /**
   * A machine of the request that goes on from what `take` took of another; any number may.
   * @throws {PyroError} MEMORY_FULL, what a start throws
   */
  async branch(
    request: GoOnRequest,
    { saved, digests }: Holder,
    savedAs: string,
    signal: AbortSignal,
  ): Promise<BootedMachine> {
    await requireMemory(digests.memory.usedBytes);
    const program = (await this.options.bundle()).holderPath;
    await using own = await ownMemory(program, saved.memoryFile, signal);
    const { memoryFile } = own;
    const start = { ...request, memoryFile, restore: { ...saved, memoryFile }, savedAs };
    return await this.options.machines.boot(start, signal);
  }
}

/**
 * Where the memory of a machine is read.
 * @throws {PyroError} VM_SAVE_FAILED
 */
export function requireOwnMemory({ memoryFile }: Pick<Machine, "memoryFile">, savedAs: string): string {
  if (memoryFile !== undefined && savedAs !== "") return memoryFile;
  throw new PyroError("VM_SAVE_FAILED", "the memory of this machine cannot be saved", {
    hint: "it was started when memory was short or without a template, or by a daemon before this one that ran as root without CAP_SYS_PTRACE; stop and start the workspace, then try again",
  });
}
