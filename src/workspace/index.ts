/**
 * The domain: what runs in machines, and what is kept of it. Knows machines, images and networks only through the
 * interfaces of sandbox.ts, which the daemon fills in.
 */
export type { EnvironmentConfig } from "./environment-config.js";
export { absolutePath, DEFAULT_ENVIRONMENT, resolveCommand, userOf } from "./command-line.js";
export { runOneShot, type OneShotCaller, type OneShotResult, type OneShotSpec } from "./one-shot.js";
export { explainLoss } from "./loss.js";
export type { CommandOutputView } from "./command-output.js";
export { tailCommand, type TailSink } from "./command-tail.js";
export { RunRegistry, type RunState, type RunView } from "./run-registry.js";
export type {
  CommandExit,
  CommandSpec,
  OutputChunk,
  Phase,
  RunningCommand,
  Sandbox,
  SandboxFactory,
  SandboxSpec,
} from "./sandbox.js";
export { Workspaces, type NewWorkspace } from "./workspaces.js";
export { NO_NETWORK } from "./record.js";
export type { Populate } from "./making.js";
export { Workspace } from "./workspace.js";
export { Vms, vmStateOf, type NewVm, type VmCommand, type VmState } from "./vms.js";
export { asVmError } from "./vm-errors.js";
export { stopping } from "./workspace-errors.js";
export { WorkspaceCommand, type CommandFacts, type OutputListener } from "./workspace-command.js";
export { Operation, type OperationKind, type OperationView, type Report } from "./operation.js";
export { exportDisk, listDisk, readDisk, type DiskExport } from "./disk-tools.js";
export { saveEnvironment } from "./saving.js";
export type {
  DiskReader,
  EnvironmentPlace,
  MakeEnvironment,
  SavedEnvironment,
  WorkspaceDisks,
} from "./workspace-disks.js";
export { BASELINE, layersOf } from "./snapshot-record.js";
export { createSnapshot, deleteSnapshot, listSnapshots, type Snapshot } from "./snapshots.js";
export { NAME_PATTERN, type WorkspaceRecord, type WorkspaceSeed } from "./record.js";
export { Seeding } from "./seeding.js";
export { cancelCommand, startCommand, waitForCommand, type ExecRequest } from "./exec.js";
export type {
  CapturedMachine,
  FreshWorkspaceMachine,
  Hindrance,
  OpenOptions,
  SavedMemory,
  SuspendedMachine,
  WorkspaceLayers,
  WorkspaceMachine,
  WorkspaceMachines,
  WorkspaceShape,
} from "./workspace-machine.js";
export { attachShell, type AttachedPiece, type Attachment } from "./shell-attach.js";
export type { OpenedShell, ShellOutput, ShellReadRequest, ShellState } from "./shells.js";
export type { MachineShells, ShellPiece } from "./machine-shells.js";
export type { FileContent, FileEntry, WorkspaceFiles } from "./workspace-files.js";
export { editFile, patchFiles, writeFile } from "./editing.js";
export { filesOf } from "./machine-files.js";
export { readFile } from "./reading.js";
export { diffWorkspace } from "./comparing.js";
export { exportPath } from "./exporting.js";
export {
  listServices,
  serviceLogs,
  serviceStatus,
  startService,
  stopService,
  type ServiceLog,
  type ServiceRequest,
} from "./services.js";
export type { MachineService, MachineServices, Readiness, ServiceSpec } from "./machine-services.js";
export type {
  ListeningPort,
  MachineNetwork,
  ChangedEvents,
  NetworkEvent,
  NetworkPolicyText,
  NetworkRefusal,
  NetworkReport,
  OpenNetworkOptions,
  PortOwner,
  PortPair,
  WorkspaceNetwork,
  WorkspaceNetworks,
} from "./workspace-network.js";
export type { ServicePort } from "./published-ports.js";
export type { ServiceFacts } from "./workspace-services.js";
export { summarizeWorkspace, type WorkspaceSummary } from "./summary.js";
export { summarize, type DiffEntry, type DiffSummary, type HostExecutablePath } from "./diff/index.js";
export type { PatchEntry } from "./patch/index.js";
export { decodeHeader, HostTree, packEntries, SeedTally, sourceError, TAR_END, walk } from "./seed/index.js";
export type { Found, PackOptions, SeedSource } from "./seed/index.js";
export type {
  Redactor,
  Secret,
  SecretEnv,
  SecretEnvironment,
  SecretHolder,
  WorkspaceSecrets,
} from "./secrets/index.js";
export type { Exported, Pushed, Transferred } from "./transfer.js";
