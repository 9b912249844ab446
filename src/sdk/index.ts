/**
 * The typed client of the daemon: `Pyro` and what its methods take and give. Every method takes `{ signal, timeoutMs }`
 * and rejects with PyroError only. Nothing here runs a command on the host; the only process it starts is the daemon.
 */
export { Pyro, type PyroOptions } from "./pyro.js";
export type { CallOptions } from "./call.js";
export type { DaemonProgram } from "./daemon-start.js";
export type { DaemonStatus, DaemonStopped } from "./daemon-status.js";
export type { AcceleratorReport, DoctorCheck, DoctorReport } from "./doctor.js";
export type {
  DeletedEnvironment,
  EnvironmentConfig,
  EnvironmentDetails,
  EnvironmentList,
  EnvironmentOrigin,
  EnvironmentSummary,
  PruneOptions,
  PruneResult,
  PullProgress,
  PullOptions,
  PullResult,
  PushResult,
  Readiness,
} from "./environments.js";
export type { BuildFile, BuildOptions, BuildResult, BuildStep } from "./build.js";
export { prepareStateDirectory } from "./state-directory.js";
export type { PrepareOptions, PrepareResult, PrepareStep } from "./prepare.js";
export type { RunInVmOptions } from "./run-options.js";
export type { RunRecord, RunWindow, StreamWindow } from "./run-record.js";
export type { CommandOutcome, CommandResult, Isolation } from "./run-result.js";
export type { RunEvent, RunInput, RunPhase } from "./run-stream.js";
export { collectEvents, type CollectedRunOptions, type RunStream } from "./run.js";
export type { WorkspacesUsage, WorkspaceUsage } from "./top.js";
export type { CreateVmOptions, ExecVmOptions, VmWaitOptions } from "./vm-calls.js";
export type { ReapedVms, VmCommandResult, VmNetworkInfo, VmOperation, VmRecord } from "./vm-record.js";
export { completeUtf8Prefix, completeUtf8Suffix } from "./utf8.js";
export type { CreateWorkspaceOptions, LogsOptions, WaitOptions } from "./workspace-calls.js";
export type { ExecEvent, ExecStream, ExecWorkspaceOptions } from "./workspace-exec.js";
export type {
  WorkspaceCommandRecord,
  WorkspaceOperation,
  WorkspaceRecord,
  WorkspaceSeed,
  WorkspaceState,
} from "./workspace-record.js";
export type { SavedEnvironment, WorkspaceDiskExport, WorkspaceSnapshot } from "./workspace-disk-calls.js";
export { withoutNewline, type SecretSource } from "./workspace-secrets.js";
export type { WorkspaceSource } from "./workspace-source.js";
export type { WorkspaceFileContent, WorkspaceFileEntry, WorkspaceFileList } from "./workspace-file-calls.js";
export type {
  ServiceLog,
  ServiceLogs,
  ServiceReadiness,
  ServiceRecord,
  ServiceState,
} from "./service-record.js";
export type { StartServiceOptions } from "./workspace-service-calls.js";
export type { ArtifactType, HostExecutable, WorkspaceExport, WorkspaceSync } from "./transfer-result.js";
export type { OpenShellOptions, ReadShellOptions, Shell, ShellReference } from "./shell-calls.js";
export type { AttachShellOptions, ShellAttachment, ShellEvent } from "./shell-attach.js";
export type {
  NetworkEntry,
  NetworkMode,
  NetworkOptions,
  NetworkPolicy,
  PortToPublish,
  PublishedPort,
  WorkspaceNetwork,
  WorkspacePorts,
} from "./network-record.js";
export type { ShellOutput, ShellRecord, ShellState } from "./shell-record.js";
export type {
  WorkspaceDiff,
  WorkspaceDiffEntry,
  WorkspaceDiffSummary,
  WorkspacePush,
  WorkspaceSummaryRecord,
} from "./workspace-transfer.js";
