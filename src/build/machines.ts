import type { InstalledImage } from "../image/index.js";
import type { PyroError } from "../protocol/index.js";
import type { CommandExit, NetworkPolicyText, NetworkRefusal, OutputChunk } from "../workspace/index.js";

/** A machine for one step: its root lies over a base and the layers of the steps before. */
export interface StepMachineSpec {
  readonly image: InstalledImage;
  /** qcow2 files, the lowest first; nobody writes to them. */
  readonly below: readonly string[];
  /** Where what the step writes goes: a new qcow2 file. */
  readonly target: string;
  readonly network: NetworkPolicyText;
  readonly vcpuCount: number;
  readonly memMib: number;
}

export interface StepCommand {
  readonly argv: readonly string[];
  /** "NAME=value", on top of what every command gets. */
  readonly env: readonly string[];
  /** In the words of an image's configuration, looked up in the machine; "": root. */
  readonly user: string;
  readonly cwd: string;
  readonly timeoutMs: number;
}

/** Disposing of it ends it, whatever it is doing; the target is good for nothing then, unless `finish` came before. */
export interface StepMachine extends AsyncDisposable {
  /**
   * Runs a command to its end; its next output waits until the last was taken.
   * @throws {PyroError} GUEST_USER_NOT_FOUND, NO_SHELL_IN_ENVIRONMENT, COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE
   */
  run(
    command: StepCommand,
    onOutput: (chunk: OutputChunk) => Promise<void>,
    signal: AbortSignal,
  ): Promise<CommandExit>;
  /** Whether a directory is there, behind links as well. */
  isDirectory(path: string, signal: AbortSignal): Promise<boolean>;
  /** Unpacks a tar under a directory, which is made where it is missing. */
  extract(directory: string, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
  /**
   * Takes back what the machine was given for itself, writes all out, and ends it: the target is whole then.
   * @throws {PyroError} VM_UNRESPONSIVE
   */
  finish(signal: AbortSignal): Promise<void>;
  /** Why its network policy last refused something. */
  readonly refusal: NetworkRefusal | undefined;
  /** Resolves when it ended by itself or cannot go on, with the reason. Never rejects. */
  readonly lost: Promise<PyroError>;
}

/** Makes machines for steps. The daemon fills this in. */
export interface StepMachines {
  /** @throws {PyroError} what a start throws; nothing is left then but the target */
  open(spec: StepMachineSpec, signal: AbortSignal): Promise<StepMachine>;
}
