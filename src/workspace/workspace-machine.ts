import type { PyroError } from "../protocol/index.js";
import type { EnvironmentConfig } from "./environment-config.js";
import type { MachineServices } from "./machine-services.js";
import type { MachineShells } from "./machine-shells.js";
import type { CommandSpec, Phase, RunningCommand } from "./sandbox.js";
import type { MachineNetwork } from "./workspace-network.js";
import type { WorkspaceFiles } from "./workspace-files.js";

/** What a workspace's machine is made of; it keeps this shape for life. */
export interface WorkspaceShape {
  readonly environment: string;
  readonly vcpuCount: number;
  readonly memMib: number;
}

/**
 * The layers of a workspace's disk, in a directory of their own: the environment's image lies below all of them.
 * `baseline` is what the seed left, `sealed` what was sealed since; `active` is everything after that. Which layer lies
 * on which is said here and nowhere else: a sealed one may have several names, in several workspaces.
 */
export interface WorkspaceLayers {
  /** "sha256:…" of the environment's image. */
  readonly imageDigest: string;
  readonly baseline: string;
  /** The lowest first. */
  readonly sealed: readonly string[];
  readonly active: string;
}

export interface OpenOptions {
  readonly signal: AbortSignal;
  readonly onPhase?: (phase: Phase) => void;
}

/** What may hold a machine up: it goes on by itself when there is room again, or is given up when it hangs for long. */
export type Hindrance = "host disk full" | "hangs";

/** A machine that a workspace lives in. Disposing of it ends it as a power cut would; its layers stay. */
export interface WorkspaceMachine extends AsyncDisposable {
  /** By which another daemon adopts it. */
  readonly id: string;
  readonly isolation: "kvm" | "software";
  readonly guestKernel: string;
  /** Of its process on the host. */
  readonly pid: number;
  /** Why it does not go on just now; undefined where it does. */
  readonly hindrance: Hindrance | undefined;
  /** Resolves when the machine ended by itself, with the reason. Never rejects. */
  readonly lost: Promise<PyroError>;
  readonly files: WorkspaceFiles;
  readonly services: MachineServices;
  readonly shells: MachineShells;
  readonly network: MachineNetwork;
  start(spec: CommandSpec & { readonly processId: string }): Promise<RunningCommand>;
  /**
   * A command that was started before, its output from a position on.
   * @throws {PyroError} PROCESS_NOT_FOUND
   */
  follow(
    processId: string,
    from: { readonly stdout: number; readonly stderr: number },
  ): Promise<RunningCommand>;
  /** Makes the agent forget a command that has ended, and ends what it left running. */
  forget(processId: string): Promise<void>;
  /** Ends the whole tree of a command. */
  kill(processId: string): Promise<void>;
  /** Gives the guest the host's time, which was set. */
  setClock(): Promise<void>;
  /**
   * Stops it where it is, and writes its memory into a directory, which is there, private and empty. It stands still
   * afterwards: dispose of it, or wake it and remove the directory. When it rejects, the machine runs on as before.
   * @throws {PyroError} VM_SAVE_FAILED, DISK_FULL, VM_UNRESPONSIVE
   */
  suspend(directory: string): Promise<SuspendedMachine>;
  /**
   * Stops it for a moment and takes what other machines can go on from: memory and devices; its disk goes on in a new
   * layer, as by `putLayer`, so that what lies below is what the memory fits. `whileStill` is called meanwhile.
   * @throws {PyroError} VM_SAVE_FAILED, MEMORY_FULL, DISK_FULL, VM_UNRESPONSIVE; it runs on then, and `topLayer` says over what
   */
  capture(layers: WorkspaceLayers, name: string, whileStill: () => Promise<void>): Promise<CapturedMachine>;
  /** What was written is on its disk when this resolves. */
  flush(): Promise<void>;
  /** Flushes the disk and powers off; the machine is gone afterwards. */
  shutDown(): Promise<void>;
  /**
   * Ends the layer that the disk is written to: what comes goes to a new one, which is made as `layers.active` over
   * `layers.sealed`. The guest flushes what it has and holds its writes meanwhile, so that what is sealed is a clean file
   * system. Whether the layer was put when this fails is for `topLayer` to say.
   * @throws {PyroError} VM_CRASHED, VMM_PROTOCOL_ERROR, VM_UNRESPONSIVE, DISK_FULL
   */
  putLayer(layers: WorkspaceLayers, name: string): Promise<void>;
  /** The name of the layer that was put last; something else where none was. */
  topLayer(): Promise<string>;
  /** Lets go of a machine that runs on, for another daemon to adopt. */
  release(): Promise<void>;
}

/** Memory and devices of a machine, held in memory until it is disposed of. Only the daemon's side knows more. */
export interface CapturedMachine extends AsyncDisposable {
  /** What of its memory is in use. */
  readonly usedBytes: number;
  /** How long the machine stood still. */
  readonly pauseMs: number;
  /**
   * Writes it into a directory, which is there, private and empty: as `suspend` does.
   * @throws {PyroError} DISK_FULL, VM_SAVE_FAILED; the signal's reason
   */
  store(directory: string, signal: AbortSignal): Promise<void>;
}

/** A machine that stands still. */
export interface SuspendedMachine {
  /** Lets it run on. */
  wake(): Promise<void>;
}

/** Where a machine goes on from. */
export interface SavedMemory {
  readonly directory: string;
  /** Called when the machine is about to run: from then on what was saved does not fit the disk any more. */
  readonly beforeRun: () => Promise<void>;
}

/** A machine that was made for a new workspace: its disk is the baseline in the making. */
export interface FreshWorkspaceMachine {
  readonly machine: WorkspaceMachine;
  readonly imageDigest: string;
  /** What its environment says of commands; absent: nothing. */
  readonly config?: EnvironmentConfig;
  /**
   * Ends the baseline: what the disk holds now is sealed, and what comes goes to the active layer.
   * @throws {PyroError} VM_CRASHED, VMM_PROTOCOL_ERROR, DISK_FULL
   */
  seal(): Promise<void>;
}

/** Makes machines for workspaces. The daemon composes it of the VMM, the image store and the guest client. */
export interface WorkspaceMachines {
  /** A machine over a fresh environment, whose first layer stands at `layers.baseline`. */
  make(
    shape: WorkspaceShape & { readonly noPull: boolean },
    layers: Pick<WorkspaceLayers, "baseline" | "active">,
    options: OpenOptions,
  ): Promise<FreshWorkspaceMachine>;
  /** A machine over layers that are there. */
  open(shape: WorkspaceShape, layers: WorkspaceLayers, options: OpenOptions): Promise<WorkspaceMachine>;
  /**
   * A machine that goes on where it was suspended, over the same layers: commands and all, as another machine to those
   * that ask (entropy, clock, names).
   * @throws {PyroError} SAVED_MEMORY_STALE, SAVED_MEMORY_DAMAGED, MEMORY_FULL, what a start throws
   */
  resume(
    shape: WorkspaceShape,
    layers: WorkspaceLayers,
    from: SavedMemory,
    options: OpenOptions,
  ): Promise<WorkspaceMachine>;
  /**
   * A machine that goes on from what was captured of another, over layers that end where that one's did.
   * @throws {PyroError} MEMORY_FULL, what a start throws
   */
  branch(
    shape: WorkspaceShape,
    layers: WorkspaceLayers,
    captured: CapturedMachine,
    options: OpenOptions,
  ): Promise<WorkspaceMachine>;
  /** A machine that an earlier daemon left running; undefined where it is gone. */
  adopt(
    machineId: string,
    facts: { readonly isolation: "kvm" | "software" },
  ): Promise<WorkspaceMachine | undefined>;
  /** Replaces the active layer by an empty one over the sealed ones, in one step; no machine may run on it. */
  renew(layers: WorkspaceLayers): Promise<void>;
  /** Keeps an environment's image on the host until the result is disposed of. */
  holdImage(digest: string): Disposable;
}
