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
  EnvironmentDetails,
  EnvironmentList,
  EnvironmentSummary,
  Isolation,
  PrepareOptions,
  PrepareResult,
  PrepareStep,
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
  SecretSource,
  StreamWindow,
} from "./sdk/index.js";
export { createServer, type PyroMcpServer, type ServerOptions } from "./mcp/index.js";
export { PyroError, type ErrorCode } from "./protocol/index.js";
