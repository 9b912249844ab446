/**
 * The typed client of the guest agent. Every byte from the guest is hostile: what is read here has a bound, and what
 * breaks the rules ends the connection with a named error. Everything of a connection ends when it is disposed of.
 */
export { connectGuest, type ConnectOptions } from "./connect.js";
export type { GuestConnection, GuestEvents, LinkCounters } from "./connection.js";
export { followProcess, startProcess, type GuestProcess, type ProcessSpec, type StartOptions } from "./process.js";
export type { OutputPiece, OutputPosition } from "./output.js";
export type { ProcessExit } from "./exit-status.js";
export { downloadFile, extractTar, uploadFile, type Download, type DownloadOptions } from "./file.js";
export type { FileOptions } from "./file-options.js";
export type { GuestFileEntry } from "./file-entry.js";
export {
  editFile,
  listFiles,
  packTar,
  type EditOptions,
  type FileListing,
  type ListFilesOptions,
  type PackedTar,
} from "./files.js";
export { commitFiles, type CommitStep } from "./commit.js";
export { listChanges, type ChangesOptions, type GuestChange, type GuestChanges } from "./changes.js";
export {
  getService,
  listServices,
  readServiceLogs,
  rewriteServiceLogs,
  startService,
  stopService,
  type GuestLog,
  type GuestReadiness,
  type GuestService,
  type GuestServiceSpec,
} from "./supervisor.js";
export {
  GuestShells,
  type GuestShell,
  type GuestShellPiece,
  type GuestShellRead,
  type GuestShellSpec,
} from "./shell.js";
export type { ConnectTarget, GatewayHandlers, IncomingStream, NameAnswer, NameQuery, Refusal } from "./gateway.js";
export type { DialledStream } from "./dial.js";
export type { GuestStream } from "./stream.js";
export { holdWrites, type HeldWrites } from "./hold.js";
