import * as z from "zod";
import { defineOperation } from "../operation.js";
import { renderWorkspace, toWorkspaceView, workspaceId, workspaceRecord } from "./record.js";
import { CORE } from "./tool-sets.js";

/** `pyro workspace update`, `workspace_update`, `updateWorkspace`. */
export const workspaceUpdate = defineOperation({
  name: "workspace_update",
  command: ["workspace", "update"],
  summary: "Change a workspace's name and labels",
  description: "",
  profiles: CORE,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    name: z.string().min(1).max(64).optional().describe("Its new name"),
    clear_name: z.boolean().default(false).describe("Take its name away"),
    labels: z.record(z.string(), z.string()).default({}).describe("A label to set; repeatable"),
    clear_labels: z
      .array(z.string().max(64))
      .max(64)
      .default([])
      .describe("A label to take away; repeatable"),
  }),
  output: workspaceRecord,
  positionals: ["workspace_id"],
  commandLineNames: { labels: "label", clear_labels: "clear_label" },
  examples: [
    {
      command: "pyro workspace update ws-3f9c --name winner --clear-label draft",
      says: "by a prefix of its id",
    },
  ],
  run: async (given, { pyro, signal }) =>
    toWorkspaceView(
      await pyro.updateWorkspace(
        {
          workspaceId: given.workspace_id,
          name: given.name,
          clearName: given.clear_name,
          labels: given.labels,
          clearLabels: given.clear_labels,
        },
        { signal },
      ),
    ),
  render: renderWorkspace,
});
