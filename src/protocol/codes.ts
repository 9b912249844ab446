/**
 * Every error code of pyro, one literal list. A code is never renamed nor reused; a test pins the list.
 * The same code travels agent → daemon → SDK → command line and MCP.
 */
export const ERROR_CODES = [
  // What the caller said
  "INVALID_ARGUMENT",
  "ARGUMENT_TOO_LARGE",
  "UNKNOWN_ENVIRONMENT",
  "RUN_NOT_FOUND",
  "WORKSPACE_NOT_FOUND",
  "AMBIGUOUS_REFERENCE",
  "SEQUENCE_NOT_FOUND",
  "PROCESS_NOT_FOUND",
  "COMMAND_NOT_FOUND",
  "COMMAND_NOT_EXECUTABLE",
  "WORKING_DIRECTORY_NOT_FOUND",
  "HOST_COMPAT_NOT_SUPPORTED",
  "NETWORK_NOT_AVAILABLE",
  "CONFIG_INVALID",
  "CANCELLED",
  "DEADLINE_EXCEEDED",
  // Workspaces
  "WORKSPACE_STOPPED",
  "WORKSPACE_FAILED",
  "WORKSPACE_BUSY",
  "WORKSPACE_DELETED",
  "EXPORT_EXISTS",
  "EXPORT_FAILED",
  // What a workspace begins with
  "SEED_NOT_FOUND",
  "SEED_UNREADABLE",
  "SEED_CHANGED",
  "SEED_ARCHIVE_INVALID",
  "SEED_TOO_LARGE",
  "PROJECT_NOT_FOUND",
  "PROJECT_UNREADABLE",
  "REPOSITORY_UNREACHABLE",
  // Environments
  "ENVIRONMENT_NOT_PULLED",
  "ENVIRONMENT_DAMAGED",
  "ENVIRONMENT_BUILD_FAILED",
  "ENVIRONMENT_BUSY",
  // The host
  "PLATFORM_NOT_SUPPORTED",
  "QEMU_NOT_FOUND",
  "HOST_TOOL_NOT_FOUND",
  "NO_ACCELERATOR",
  "ISOLATION_NOT_AVAILABLE",
  "RUNTIME_BUNDLE_MISSING",
  "RUNTIME_BUNDLE_DAMAGED",
  "DISK_FULL",
  "STATE_NOT_WRITABLE",
  "STATE_NOT_PRIVATE",
  "TOO_MANY_FILES",
  // The virtual machine
  "VM_START_FAILED",
  "VM_BOOT_TIMEOUT",
  "VM_CRASHED",
  "VM_UNRESPONSIVE",
  "VM_SAVE_FAILED",
  "VM_RESTORE_FAILED",
  "TEMPLATE_DAMAGED",
  "TEMPLATE_NOT_PRIVATE",
  "VMM_PROTOCOL_ERROR",
  "GUEST_PROTOCOL_ERROR",
  "GUEST_DISCONNECTED",
  "GUEST_FILE_NOT_FOUND",
  "GUEST_FILE_REFUSED",
  "GUEST_FILE_CHANGED",
  "GUEST_EDIT_NO_MATCH",
  "GUEST_EDIT_AMBIGUOUS",
  "GUEST_DISK_FULL",
  "GUEST_PROCESS_LIMIT",
  // The daemon
  "DAEMON_START_FAILED",
  "DAEMON_UNREACHABLE",
  "DAEMON_ALREADY_RUNNING",
  "DAEMON_BUSY",
  "DAEMON_STOPPING",
  "INTERNAL",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

const known: ReadonlySet<string> = new Set(ERROR_CODES);

/** Whether `value` is a code of this version; a newer peer may send others. */
export function isErrorCode(value: string): value is ErrorCode {
  return known.has(value);
}
