import * as z from "zod";
import { LIMITS } from "../../protocol/index.js";
import { defineOperation } from "../operation.js";
import { renderWorkspace, toWorkspaceView, workspaceId, workspaceRecord } from "./record.js";
import { CORE_AND_INSPECT } from "./tool-sets.js";

/** `pyro workspace status`, `workspace_status`, `statusWorkspace`. */
export const workspaceStatus = defineOperation({
  name: "workspace_status",
  command: ["workspace", "status"],
  summary: "Show one workspace: state, seed, machine, last command",
  description: "",
  profiles: CORE_AND_INSPECT,
  kind: "read",
  input: z.strictObject({
    workspace_id: workspaceId(),
    wait_seconds: z
      .int()
      .min(0)
      .max(LIMITS.mcpBlockMs / 1000)
      .default(0)
      .describe("Wait up to this long for what goes on in it"),
  }),
  output: workspaceRecord,
  positionals: ["workspace_id"],
  examples: [{ command: "pyro workspace status fix-1", says: "by its name" }],
  run: async ({ workspace_id: id, wait_seconds: seconds }, { pyro, signal, waitMs = Infinity }) =>
    toWorkspaceView(await pyro.statusWorkspace(id, { waitMs: Math.min(seconds * 1000, waitMs) }, { signal })),
  render: renderWorkspace,
});
