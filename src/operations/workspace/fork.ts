import * as z from "zod";
import { LIMITS } from "../../protocol/index.js";
import { defineOperation } from "../operation.js";
import { renderWorkspace, toWorkspaceView, workspaceId, workspaceRecord } from "./record.js";
import { allowSecrets } from "./secrets.js";
import { FULL } from "./tool-sets.js";

/** `pyro workspace fork`, `workspace_fork`, `forkWorkspace`. */
export const workspaceFork = defineOperation({
  name: "workspace_fork",
  command: ["workspace", "fork"],
  summary: "Make running copies of a running workspace, processes and memory included",
  description:
    "The workspace pauses for a moment and goes on. Each child has its own disk, name, host name, machine id and random " +
    "numbers, and its own outcome: one that fails takes no other along. What a program had drawn or read before, such as " +
    "a seeded generator or a token, is in each of them.",
  profiles: FULL,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    count: z.number().int().min(1).max(LIMITS.forkCountMax).default(1).describe("How many children"),
    name_prefix: z
      .string()
      .max(61)
      .optional()
      .describe("Children are named by it and -1, -2, …; without it they have no names"),
    allow_secrets: allowSecrets(),
  }),
  output: z.object({ source_workspace_id: z.string(), children: z.array(workspaceRecord) }),
  positionals: ["workspace_id"],
  examples: [
    { command: "pyro workspace fork fix-1 --count 3 --name-prefix try", says: "try-1, try-2, try-3" },
  ],
  run: async (
    { workspace_id: id, count, name_prefix: namePrefix, allow_secrets: allowSecrets },
    { pyro, signal, waitMs },
  ) => {
    const { sourceWorkspaceId, children } = await pyro.forkWorkspace(
      id,
      { count, namePrefix, allowSecrets, waitMs },
      { signal },
    );
    return { source_workspace_id: sourceWorkspaceId, children: children.map(toWorkspaceView) };
  },
  render: ({ children }) => children.map(renderWorkspace).join("\n\n"),
});
