/**
 * The one table of operations: name, input, output, examples and what it does. The command line, the MCP tools and the
 * reference derive from it, so that names, fields and errors are the same everywhere. Adding a flag edits one file.
 * Only the table is exported here: whoever names one operation, or its records, imports the operation's own file, so that a
 * command loads no other.
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
