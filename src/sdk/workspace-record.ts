import type { PyroError } from "../protocol/index.js";
import type { CommandRecord as WireCommand } from "../protocol/gen/pyro/daemon/v1/workspace_command_pb.js";
import type {
  Workspace as WireWorkspace,
  WorkspaceOperation as WireOperation,
} from "../protocol/gen/pyro/daemon/v1/workspace_pb.js";
import { fromDetail } from "./call.js";
import { toWindow, type RunWindow } from "./run-record.js";
import { toExport, toSync, type WorkspaceExport, type WorkspaceSync } from "./transfer-result.js";
import { toIsolation, toOutcome, type CommandOutcome, type Isolation } from "./run-result.js";
import type { NetworkMode } from "./network-record.js";

export type WorkspaceState = "creating" | "started" | "stopped" | "suspended" | "resetting" | "failed";

/** Where a workspace's files came from. */
export interface WorkspaceSeed {
  readonly mode: "empty" | "directory" | "tar_archive";
  readonly seedPath: string | null;
  readonly originKind: string;
  readonly originRef: string | null;
  readonly entryCount: number;
  readonly bytes: number;
}

/** What goes on in a workspace, or went on last. */
export interface WorkspaceOperation {
  readonly kind: string;
  readonly state: "running" | "done" | "failed";
  readonly message: string;
  /** 0 to 1, or null where it is not known. */
  readonly progress: number | null;
  readonly error: PyroError | null;
  /** What a push or an export brought, also for those who did not wait for it; null for all else. */
  readonly result: WorkspaceSync | WorkspaceExport | null;
}

/** A workspace as it is now; times are ISO 8601. */
export interface WorkspaceRecord {
  readonly workspaceId: string;
  readonly name: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly environment: string;
  readonly state: WorkspaceState;
  /** Null while no machine was made. */
  readonly isolation: Isolation | null;
  readonly networkPolicy: NetworkMode;
  readonly workspacePath: "/workspace";
  readonly workspaceSeed: WorkspaceSeed;
  readonly secrets: readonly { readonly name: string; readonly sourceKind: string }[];
  readonly vcpuCount: number;
  readonly memMib: number;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly lastActivityAt: string;
  readonly commandCount: number;
  readonly runningCommandCount: number;
  readonly lastCommand: WorkspaceCommandRecord | null;
  readonly serviceCount: number;
  readonly runningServiceCount: number;
  readonly reset: { readonly count: number; readonly at: string | null; readonly snapshot: string | null };
  readonly operation: WorkspaceOperation | null;
  /** Why it failed, or how its machine was lost. */
  readonly failure: { readonly code: string; readonly message: string; readonly hint: string } | null;
  /** Why it is stopped or suspended: "user", "ttl", "idle", "crash" or "reset". All but the user's start again when they are used. */
  readonly stoppedBy: string | null;
  /** What holds its machine up just now: "host disk full" (it goes on when there is room), "hangs"; null: nothing. */
  readonly hindrance: string | null;
  /** The workspace that it was forked from. */
  readonly sourceWorkspaceId: string | null;
  /** Names of the secrets that live processes held when its memory was saved, or copied into it. */
  readonly secretsInMemory: readonly string[];
  readonly warnings: readonly string[];
}

/** A command of a workspace: `result` is null while it runs, and where `interrupted` says why it never ended. */
export interface WorkspaceCommandRecord {
  readonly workspaceId: string;
  readonly sequence: number;
  readonly command: string;
  readonly cwd: string;
  readonly state: "running" | "done";
  readonly startedAt: string;
  readonly result: CommandOutcome | null;
  readonly interrupted: string | null;
  /** What the network refused last while it ran, and how the user could allow that. */
  readonly networkRefusal: string | null;
  readonly output: RunWindow | null;
}

/** The record as the daemon sent it. */
export function toWorkspaceRecord(wire: WireWorkspace): WorkspaceRecord {
  const { seed, failure, operation } = wire;
  return {
    workspaceId: wire.workspaceId,
    name: orNull(wire.name),
    labels: { ...wire.labels },
    environment: wire.environment,
    state: wire.state as WorkspaceState,
    isolation: wire.isolation === "" ? null : toIsolation(wire.isolation),
    networkPolicy: wire.networkPolicy === "" ? "off" : (wire.networkPolicy as NetworkMode),
    workspacePath: "/workspace",
    workspaceSeed: {
      mode: (seed?.mode ?? "empty") as WorkspaceSeed["mode"],
      seedPath: orNull(seed?.seedPath),
      originKind: seed?.originKind ?? "empty",
      originRef: orNull(seed?.originRef),
      entryCount: Number(seed?.entryCount ?? 0),
      bytes: Number(seed?.bytes ?? 0),
    },
    secrets: wire.secrets.map(({ name, sourceKind }) => ({ name, sourceKind })),
    vcpuCount: wire.vcpuCount,
    memMib: wire.memMib,
    createdAt: toTime(wire.createdAtMs),
    expiresAt: toTime(wire.expiresAtMs),
    lastActivityAt: toTime(wire.lastActivityAtMs),
    commandCount: wire.commandCount,
    runningCommandCount: wire.runningCommands,
    lastCommand: wire.lastCommand === undefined ? null : toWorkspaceCommand(wire.lastCommand),
    serviceCount: wire.serviceCount,
    runningServiceCount: wire.runningServices,
    reset: {
      count: wire.resetCount,
      at: wire.resetAtMs === 0n ? null : toTime(wire.resetAtMs),
      snapshot: orNull(wire.resetSnapshot),
    },
    operation: operation === undefined ? null : toOperation(operation),
    failure:
      failure === undefined ? null : { code: failure.code, message: failure.message, hint: failure.hint },
    stoppedBy: orNull(wire.stoppedBy),
    hindrance: orNull(wire.hindrance),
    sourceWorkspaceId: orNull(wire.sourceWorkspaceId),
    secretsInMemory: wire.secretsInMemory,
    warnings: [...wire.warnings],
  };
}

function toOperation({ kind, state, message, progress, error, result }: WireOperation): WorkspaceOperation {
  return {
    ...{ kind, message },
    state: state as WorkspaceOperation["state"],
    progress: progress >= 0 && progress <= 1 ? progress : null,
    error: error === undefined ? null : fromDetail(error),
    result: toResult(result),
  };
}

function toResult(result: WireOperation["result"]): WorkspaceOperation["result"] {
  switch (result.case) {
    case "pushed":
      return toSync(result.value);
    case "exported":
      return toExport(result.value);
    case undefined:
      return null;
  }
}

/** A command as the daemon sent it. */
export function toWorkspaceCommand(wire: WireCommand): WorkspaceCommandRecord {
  return {
    workspaceId: wire.workspaceId,
    sequence: wire.sequence,
    command: wire.command,
    cwd: wire.cwd,
    state: wire.running ? "running" : "done",
    startedAt: toTime(wire.startedAtMs),
    result: wire.result === undefined ? null : toOutcome(wire.result),
    interrupted: orNull(wire.interrupted),
    networkRefusal: orNull(wire.networkRefusal),
    output: wire.output === undefined ? null : toWindow(wire.output),
  };
}

function orNull(text: string | undefined): string | null {
  return text === undefined || text === "" ? null : text;
}

function toTime(ms: bigint): string {
  return new Date(Number(ms)).toISOString();
}
