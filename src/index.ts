/**
 * The public SDK: `import { Pyro, createServer } from "pyro-mcp"`. Virtual machines for programs, and the MCP server
 * as an object. What is not exported here is private.
 */
export { Pyro } from "./sdk/index.js";
export type {
  AcceleratorReport,
  CallOptions,
  CollectedRunOptions,
  CommandOutcome,
  CommandResult,
  DaemonProgram,
  DaemonStatus,
  DaemonStopped,
  DoctorCheck,
  DoctorReport,
  DeletedEnvironment,
  EnvironmentConfig,
  EnvironmentDetails,
  EnvironmentList,
  EnvironmentOrigin,
  EnvironmentSummary,
  Isolation,
  PrepareOptions,
  PrepareResult,
  PrepareStep,
  PruneOptions,
  PruneResult,
  PullProgress,
  PullResult,
  PyroOptions,
  Readiness,
  RunEvent,
  RunInput,
  RunInVmOptions,
  RunPhase,
  RunRecord,
  RunStream,
  RunWindow,
  SavedEnvironment,
  SecretSource,
  StreamWindow,
} from "./sdk/index.js";
export { createServer, type PyroMcpServer, type ServerOptions } from "./mcp/index.js";
export { PyroError, type ErrorCode } from "./protocol/index.js";
