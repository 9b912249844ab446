/**
 * The one table of operations: name, input, output, examples and what it does. The command line, the MCP tools and the
 * reference derive from it, so that names, fields and errors are the same everywhere. Adding a flag edits one file.
 */
export {
  isOperation,
  PROFILES,
  type Declaration,
  type Kind,
  type Operation,
  type Profile,
} from "./operation.js";
export { allDeclarations, GROUPS, toolsOf } from "./registry.js";
export { field, snakeKeys } from "./fields.js";
export { hostCompat, parseInput } from "./input.js";
export { CURATED_ENVIRONMENTS, DEFAULT_ENVIRONMENT, ENVIRONMENTS_LINE } from "./curated.js";
export { formatBytes, formatDuration, formatTable, visible } from "./text.js";
export { commandExitCode, toCommandRecord, vmRun } from "./vm/run.js";
export { doctor, type DoctorRecord } from "./host/doctor.js";
export { mcpServe } from "./mcp/serve.js";
export { toExecRecord, workspaceExec } from "./workspace/exec.js";
