import { expect, test } from "vitest";
import { ERROR_CODES, isErrorCode } from "../../../src/protocol/index.js";

test("the list of error codes is pinned: codes may be added, never renamed, removed or reused", () => {
  expect(ERROR_CODES).toMatchInlineSnapshot(`
    [
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
      "HOST_PATH_NOT_ALLOWED",
      "NETWORK_NOT_AVAILABLE",
      "CONFIG_INVALID",
      "PATCH_INVALID",
      "PATCH_DOES_NOT_APPLY",
      "CANCELLED",
      "DEADLINE_EXCEEDED",
      "WORKSPACE_STOPPED",
      "WORKSPACE_FAILED",
      "WORKSPACE_BUSY",
      "WORKSPACE_DELETED",
      "EXPORT_EXISTS",
      "EXPORT_FAILED",
      "SEED_NOT_FOUND",
      "SEED_UNREADABLE",
      "SEED_CHANGED",
      "SEED_ARCHIVE_INVALID",
      "SEED_TOO_LARGE",
      "PROJECT_NOT_FOUND",
      "PROJECT_UNREADABLE",
      "REPOSITORY_UNREACHABLE",
      "HOST_NOT_INSTALLED",
      "HOST_NOT_CONNECTED",
      "HOST_ENTRY_DIFFERS",
      "HOST_CONFIG_INVALID",
      "HOST_CONFIG_NOT_WRITABLE",
      "HOST_CONFIG_CHANGED",
      "HOST_COMMAND_FAILED",
      "ENVIRONMENT_NOT_PULLED",
      "ENVIRONMENT_DAMAGED",
      "ENVIRONMENT_BUILD_FAILED",
      "ENVIRONMENT_BUSY",
      "PLATFORM_NOT_SUPPORTED",
      "QEMU_NOT_FOUND",
      "HOST_TOOL_NOT_FOUND",
      "NO_ACCELERATOR",
      "ISOLATION_NOT_AVAILABLE",
      "RUNTIME_BUNDLE_MISSING",
      "RUNTIME_BUNDLE_DAMAGED",
      "DISK_FULL",
      "MEMORY_FULL",
      "STATE_NOT_WRITABLE",
      "STATE_NOT_PRIVATE",
      "TOO_MANY_FILES",
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
      "DAEMON_START_FAILED",
      "DAEMON_UNREACHABLE",
      "DAEMON_ALREADY_RUNNING",
      "DAEMON_BUSY",
      "DAEMON_STOPPING",
      "INTERNAL",
    ]
  `);
});

test("every code is unique and in upper case", () => {
  expect(new Set(ERROR_CODES).size).toBe(ERROR_CODES.length);
  for (const code of ERROR_CODES) expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
});

test("codes of other versions are told apart", () => {
  expect(isErrorCode("DISK_FULL")).toBe(true);
  expect(isErrorCode("toString")).toBe(false);
});
