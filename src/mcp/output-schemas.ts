import * as z from "zod";

/** Shared by all tools whose result is about one workspace: what a program looks at first. */
const ofWorkspace = z.looseObject({ workspace_id: z.string() });
const list = z.looseObject({ count: z.number() });
const loose = z.looseObject({});

/**
 * Output schemas of the tools that answer with a record: lean on purpose, each conversation pays for them. Bulk-text
 * tools have none; neither has `workspace_logs`, which is both.
 */
export const OUTPUT_SCHEMAS: Readonly<Record<string, z.ZodObject>> = {
  workspace_create: ofWorkspace,
  workspace_list: list,
  workspace_update: ofWorkspace,
  workspace_status: ofWorkspace,
  workspace_sync_push: ofWorkspace,
  workspace_cancel: ofWorkspace,
  workspace_summary: ofWorkspace,
  workspace_file_list: loose,
  workspace_file_write: loose,
  workspace_file_edit: loose,
  workspace_patch_apply: loose,
  workspace_export: loose,
  workspace_reset: ofWorkspace,
  workspace_delete: ofWorkspace,
};
