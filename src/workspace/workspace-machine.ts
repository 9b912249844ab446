import type { PyroError } from "../protocol/index.js";
import type { CommandSpec, Phase, RunningCommand } from "./sandbox.js";
import type { WorkspaceFiles } from "./workspace-files.js";

/** What a workspace's machine is made of; it keeps this shape for life. */
export interface WorkspaceShape {
  readonly environment: string;
  readonly vcpuCount: number;
  readonly memMib: number;
}

/**
 * The layers of a workspace's disk, in a directory of their own: the environment's image lies below both.
 * `baseline` is what the seed left, sealed; `active` is everything since.
 */
export interface WorkspaceLayers {
  /** "sha256:…" of the environment's image. */
  readonly imageDigest: string;
  readonly baseline: string;
  readonly active: string;
}

export interface OpenOptions {
  readonly signal: AbortSignal;
  readonly onPhase?: (phase: Phase) => void;
}

/** A machine that a workspace lives in. Disposing of it ends it as a power cut would; its layers stay. */
export interface WorkspaceMachine extends AsyncDisposable {
  /** By which another daemon adopts it. */
  readonly id: string;
  readonly isolation: "kvm" | "software";
  readonly guestKernel: string;
  /** Resolves when the machine ended by itself, with the reason. Never rejects. */
  readonly lost: Promise<PyroError>;
  readonly files: WorkspaceFiles;
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
  /** Flushes the disk and powers off; the machine is gone afterwards. */
  shutDown(): Promise<void>;
  /** Lets go of a machine that runs on, for another daemon to adopt. */
  release(): Promise<void>;
}

/** A machine that was made for a new workspace: its disk is the baseline in the making. */
export interface FreshWorkspaceMachine {
  readonly machine: WorkspaceMachine;
  readonly imageDigest: string;
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
    layers: Omit<WorkspaceLayers, "imageDigest">,
    options: OpenOptions,
  ): Promise<FreshWorkspaceMachine>;
  /** A machine over layers that are there. */
  open(shape: WorkspaceShape, layers: WorkspaceLayers, options: OpenOptions): Promise<WorkspaceMachine>;
  /** A machine that an earlier daemon left running; undefined where it is gone. */
  adopt(
    machineId: string,
    facts: { readonly isolation: "kvm" | "software" },
  ): Promise<WorkspaceMachine | undefined>;
  /** Replaces the active layer by an empty one over the baseline; no machine may run on it. */
  renew(layers: WorkspaceLayers): Promise<void>;
  /** Keeps an environment's image on the host until the result is disposed of. */
  holdImage(digest: string): Disposable;
}
