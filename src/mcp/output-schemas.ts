import type { StandardSchemaWithJSON } from "@modelcontextprotocol/server";

/** An open record with some fields that are always there. Results are made by us, and so not proven again. */
function record(fields: Readonly<Record<string, "string" | "number">>): StandardSchemaWithJSON {
  const properties = Object.entries(fields).map(([name, type]) => [name, { type }] as const);
  const schema = {
    type: "object",
    properties: Object.fromEntries(properties),
    required: Object.keys(fields),
  };
  const jsonSchema = { input: () => schema, output: () => schema };
  return { "~standard": { version: 1, vendor: "pyro", jsonSchema, validate: (value) => ({ value }) } };
}

const ofWorkspace = record({ workspace_id: "string" });
const ofVm = record({ vm_id: "string" });
const ofShell = record({ workspace_id: "string", shell_id: "string", state: "string" });
const list = record({ count: "number" });
const open = record({});

/**
 * Output schemas of the tools that answer with a record: lean on purpose, each conversation pays for them. Bulk-text
 * tools have none; neither has `workspace_logs`, which is both.
 */
export const OUTPUT_SCHEMAS: Readonly<Record<string, StandardSchemaWithJSON>> = {
  workspace_create: ofWorkspace,
  workspace_list: list,
  workspace_update: ofWorkspace,
  workspace_status: ofWorkspace,
  workspace_sync_push: ofWorkspace,
  workspace_cancel: ofWorkspace,
  workspace_summary: ofWorkspace,
  workspace_file_list: open,
  workspace_file_write: open,
  workspace_file_edit: open,
  workspace_patch_apply: open,
  workspace_export: open,
  snapshot_create: open,
  snapshot_list: list,
  snapshot_delete: ofWorkspace,
  workspace_reset: ofWorkspace,
  service_start: ofWorkspace,
  service_list: list,
  service_status: ofWorkspace,
  service_stop: ofWorkspace,
  shell_open: ofShell,
  shell_write: ofShell,
  shell_signal: ofShell,
  shell_close: ofShell,
  workspace_stop: ofWorkspace,
  workspace_start: ofWorkspace,
  workspace_disk_list: open,
  workspace_disk_export: open,
  workspace_fork: open,
  workspace_delete: ofWorkspace,
  vm_list_environments: open,
  vm_create: ofVm,
  vm_start: ofVm,
  vm_stop: ofVm,
  vm_delete: ofVm,
  vm_status: ofVm,
  vm_network_info: ofVm,
  vm_reap_expired: list,
};
