import type { PyroError } from "../protocol/index.js";
import type { EnvironmentConfig } from "./environment-config.js";
import type { NetworkPolicyText } from "./workspace-network.js";

/** How a machine for commands is shaped. */
export interface SandboxSpec {
  readonly environment: string;
  readonly vcpuCount: number;
  readonly memMib: number;
  /** Refuse when the environment is not on this host, instead of pulling it. */
  readonly noPull: boolean;
}

/** A machine for commands, and what they may reach. */
export interface SandboxRequest extends SandboxSpec {
  readonly network: NetworkPolicyText;
}

/** Where a machine on its way to the first command is. */
export interface Phase {
  readonly phase: "queued" | "pulling" | "booting" | "running";
  readonly message: string;
  /** 0 to 1 where it is known. */
  readonly progress?: number;
}

/** One command, ready for the guest. */
export interface CommandSpec {
  readonly argv: readonly Uint8Array[];
  /** "NAME=value" entries on top of the environment's own. */
  readonly env: readonly Uint8Array[];
  readonly cwd: string;
  /** Makes `cwd` where it is missing. */
  readonly makeCwd?: boolean;
  /** Whom it runs as, in the words of an image's configuration; absent: root. */
  readonly user?: string;
  /** Undefined: no bound. */
  readonly timeoutMs?: number;
  readonly openStdin: boolean;
  /** Whether the command waits for a slow reader, or its oldest unread output is dropped. */
  readonly whenUnread: "wait" | "drop-oldest";
}

export interface OutputChunk {
  readonly stream: "stdout" | "stderr";
  readonly data: Uint8Array;
}

/** How a command ended; `exitCode` and `signal` exclude each other. */
export interface CommandExit {
  readonly exitCode?: number | undefined;
  /** For example "SIGKILL". */
  readonly signal?: string | undefined;
  readonly timedOut: boolean;
  readonly outOfMemory: boolean;
  readonly durationUs: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

/** A command that was started in a sandbox. */
export interface RunningCommand {
  /** Its output in order of arrival; ends when the command did. To be read once, and to its end. */
  readonly output: AsyncIterable<OutputChunk>;
  /** Resolves after the last chunk was read; rejects when the machine is lost. */
  readonly exit: Promise<CommandExit>;
  /** False when the command takes no more input. Resolves when there is room for more. */
  writeInput(data: Uint8Array): Promise<boolean>;
  endInput(): Promise<void>;
  /** To the command's process group. */
  signal(name: string): Promise<void>;
}

/** One machine with its environment mounted. Disposing of it ends everything in it and leaves nothing on the host. */
export interface Sandbox extends AsyncDisposable {
  readonly isolation: "kvm" | "software";
  readonly guestKernel: string;
  /** What its environment says of commands; absent: nothing. */
  readonly config?: EnvironmentConfig;
  /** Queue, boot and mount. */
  readonly startupUs: number;
  start(spec: CommandSpec): Promise<RunningCommand>;
  /** Resolves when the machine ended by itself, with the reason. Never rejects. */
  readonly lost: Promise<PyroError>;
}

/** Makes sandboxes. The daemon composes it of the VMM, the image store and the guest client. */
export interface SandboxFactory {
  open(
    spec: SandboxRequest,
    options: {
      readonly signal: AbortSignal;
      readonly onPhase?: (phase: Phase) => void;
      /** Called once the environment is on this host, before there is a machine; what it throws ends the opening. */
      readonly onEnvironment?: (config: EnvironmentConfig | undefined) => void;
    },
  ): Promise<Sandbox>;
}
