import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CommandResultSchema, RunOutputSchema } from "../../protocol/gen/pyro/daemon/v1/command_pb.js";
import type { CommandRecordSchema } from "../../protocol/gen/pyro/daemon/v1/workspace_command_pb.js";
import type {
  ExportResultSchema,
  PushResultSchema,
  WorkspaceOperationSchema,
  WorkspaceSchema,
} from "../../protocol/gen/pyro/daemon/v1/workspace_pb.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import {
  NAME_PATTERN,
  type CommandOutputView,
  type Exported,
  type Pushed,
  type Transferred,
  type Workspace,
  type WorkspaceCommand,
} from "../../workspace/index.js";
import { errorDetail } from "../wire-error.js";

/** A refusal is noted a moment after the command that met it may have ended. */
const REFUSAL_LATE_MS = 250;

/** A workspace as the wire carries it. */
export function toWorkspace(workspace: Workspace): MessageInitShape<typeof WorkspaceSchema> {
  const { record, operation, commands, services } = workspace;
  const last = commands.all.at(-1);
  const { name, failure, reset, seed, isolation, stoppedBy } = record;
  return {
    workspaceId: record.workspaceId,
    name: name ?? "",
    labels: record.labels,
    environment: record.environment,
    state: record.state,
    isolation: isolation ?? "",
    seed: {
      ...seed,
      seedPath: seed.seedPath ?? "",
      originRef: seed.originRef ?? "",
      entryCount: BigInt(seed.entryCount),
      bytes: BigInt(seed.bytes),
    },
    vcpuCount: record.vcpuCount,
    memMib: record.memMib,
    createdAtMs: BigInt(record.createdAtMs),
    expiresAtMs: BigInt(workspace.expiresAtMs),
    lastActivityAtMs: BigInt(record.lastActivityAtMs),
    commandCount: commands.all.length,
    runningCommands: commands.running.length,
    serviceCount: services.all.length,
    runningServices: services.alive.length,
    ...(last === undefined ? {} : { lastCommand: toCommandRecord(workspace, last) }),
    resetCount: reset.count,
    resetAtMs: BigInt(reset.atMs ?? 0),
    resetSnapshot: reset.snapshot ?? "",
    ...(operation === undefined
      ? {}
      : {
          operation: {
            ...{ kind: operation.kind, state: operation.state, message: operation.message },
            progress: operation.progress ?? -1,
            ...(operation.error === undefined ? {} : { error: errorDetail(operation.error) }),
            ...toOutcome(operation.transferred),
          },
        }),
    ...(failure === null ? {} : { failure }),
    warnings: record.warnings,
    stoppedBy: stoppedBy ?? "",
    secrets: record.secrets,
    networkPolicy: record.network.mode,
    hindrance: workspace.runningMachine?.hindrance ?? "",
    sourceWorkspaceId: record.sourceWorkspaceId ?? "",
    secretsInMemory: record.secretsInMemory,
  };
}

function toOutcome(
  transferred: Transferred | undefined,
): Pick<MessageInitShape<typeof WorkspaceOperationSchema>, "result"> {
  switch (transferred?.kind) {
    case "sync_push":
      return { result: { case: "pushed", value: toPushResult(transferred.result) } };
    case "export":
      return { result: { case: "exported", value: toExportResult(transferred.result) } };
    case undefined:
      return {};
  }
}

/** What a push brought. */
export function toPushResult({
  entryCount,
  bytesWritten,
  warnings,
  ...rest
}: Pushed): MessageInitShape<typeof PushResultSchema> {
  return {
    ...{ ...rest, warnings: [...warnings] },
    ...{ entryCount: BigInt(entryCount), bytesWritten: BigInt(bytesWritten) },
  };
}

/** What an export brought to the host. */
export function toExportResult({
  entryCount,
  bytesWritten,
  hostExecutablePaths,
  secretPaths,
  warnings,
  ...rest
}: Exported): MessageInitShape<typeof ExportResultSchema> {
  return {
    ...{ ...rest, warnings: [...warnings], hostExecutablePaths: [...hostExecutablePaths] },
    secretPaths: [...secretPaths],
    ...{ entryCount: BigInt(entryCount), bytesWritten: BigInt(bytesWritten) },
  };
}

/** A command without its output, or with a window of it. */
export function toCommandRecord(
  workspace: Workspace,
  { facts, isRunning }: WorkspaceCommand,
  output?: CommandOutputView,
): MessageInitShape<typeof CommandRecordSchema> {
  const { sequence, command, cwd, startedAtMs, exit, interrupted } = facts;
  return {
    ...{ workspaceId: workspace.id, sequence, command, cwd, running: isRunning },
    interrupted: interrupted ?? "",
    startedAtMs: BigInt(startedAtMs),
    networkRefusal: refusedMeanwhile(workspace, facts),
    ...(exit === undefined ? {} : { result: toResult(workspace, exit) }),
    ...(output === undefined ? {} : { output: toRunOutput(output) }),
  };
}

/** What the network refused last while a command ran, in a line; empty where nothing was. */
function refusedMeanwhile(
  { id, network: { lastRefusal } }: Workspace,
  { startedAtMs, exit }: WorkspaceCommand["facts"],
): string {
  if (lastRefusal === undefined) return "";
  const endedAtMs = exit === undefined ? Infinity : startedAtMs + exit.durationUs / 1000 + REFUSAL_LATE_MS;
  const isOurs = lastRefusal.atMs >= startedAtMs && lastRefusal.atMs <= endedAtMs;
  return isOurs ? `${lastRefusal.reason}; ${hintFor(id, lastRefusal.hint)}` : "";
}

/** What to type names the workspace: the network's own hints say ID, since it does not know whose it is. */
export function hintFor(workspaceId: string, hint: string): string {
  return hint.replace("pyro workspace network set ID", `pyro workspace network set ${workspaceId}`);
}

function toResult(
  { record, runningMachine }: Workspace,
  exit: NonNullable<WorkspaceCommand["facts"]["exit"]>,
): MessageInitShape<typeof CommandResultSchema> {
  return {
    environment: record.environment,
    ...(exit.exitCode === null ? {} : { exitCode: exit.exitCode }),
    signal: exit.signal ?? "",
    timedOut: exit.timedOut,
    outOfMemory: exit.outOfMemory,
    durationUs: BigInt(Math.round(exit.durationUs)),
    isolation: record.isolation ?? "",
    guestKernel: runningMachine?.guestKernel ?? "",
  };
}

/** A window of a command's output. */
export function toRunOutput(view: CommandOutputView): MessageInitShape<typeof RunOutputSchema> {
  const { window, stdout, stderr } = view;
  return {
    offset: BigInt(window.offset),
    head: window.head,
    cutBytes: BigInt(window.cutBytes),
    tail: window.tail,
    nextOffset: BigInt(window.nextOffset),
    totalBytes: BigInt(view.totalBytes),
    droppedBytes: BigInt(view.droppedBytes),
    stdout: stdout.data,
    stderr: stderr.data,
    stdoutTruncated: stdout.truncated,
    stderrTruncated: stderr.truncated,
    stdoutBytes: BigInt(stdout.totalBytes),
    stderrBytes: BigInt(stderr.totalBytes),
  };
}

/** How long a call waits; a timer takes no more than 24 days. */
export function waitOf(waitMs: number): number {
  return Math.min(waitMs, LIMITS.longestWaitMs);
}

/** @throws {PyroError} INVALID_ARGUMENT for what no workspace, label or snapshot may be called */
export function requireName(what: string, name: string): string {
  if (NAME_PATTERN.test(name)) return name;
  throw new PyroError("INVALID_ARGUMENT", `the ${what} ${JSON.stringify(name.slice(0, 80))} is not allowed`, {
    hint: "1 to 64 letters, digits, dots, dashes and underscores; the first a letter or a digit",
  });
}
