/**
 * The one table of operations: name, input, output, examples and what it does. The command line, the MCP tools and the
 * reference derive from it, so that names, fields and errors are the same everywhere. Adding a flag edits one file.
 */
export {
  isOperation,
  MODES,
  PROFILES,
  type Declaration,
  type Kind,
  type Mode,
  type Operation,
  type OperationContext,
  type Profile,
  type ToolSet,
} from "./operation.js";
export { allDeclarations, COMMAND_GROUPS, GROUPS, toolsOf } from "./registry.js";
export { field, snakeKeys } from "./fields.js";
export { hostCompat, parseInput } from "./input.js";
export { CURATED_ENVIRONMENTS, DEFAULT_ENVIRONMENT, ENVIRONMENTS_LINE } from "./curated.js";
export { formatBytes, formatDuration, formatTable, visible } from "./text.js";
export { commandExitCode, toCommandRecord, vmRun } from "./vm/run.js";
export { vmExec } from "./vm/life-cycle.js";
export { doctor, type DoctorRecord } from "./host/doctor.js";
export { DEMO_PROMPT, demoOllama, demoOllamaText, type DemoOllamaRecord } from "./host/demo-ollama.js";
export { pullProgress } from "./env/progress.js";
export { mcpServe } from "./mcp/serve.js";
export { toExecRecord, workspaceExec, workspaceLogs } from "./workspace/exec.js";
export { networkOptions } from "./workspace/network-fields.js";
export { workspaceDiskRead } from "./workspace/disk.js";
export { shellAttach, shellRead, shellState, toShellOutputView } from "./workspace/shells.js";
export { workspaceFileRead } from "./workspace/files.js";
export {
  renderWorkspace,
  toWorkspaceCommandView,
  toWorkspaceView,
  type WorkspaceView,
} from "./workspace/record.js";
export { networkLine, toNetworkEntryView, workspaceNetwork } from "./workspace/network.js";
export { topRows, topSummary, toTopView, workspaceTop } from "./workspace/top.js";
export { serviceLogs } from "./workspace/services.js";
export { workspaceDiff } from "./workspace/transfers.js";
