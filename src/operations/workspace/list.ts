import * as z from "zod";
import { defineOperation } from "../operation.js";
import { formatTable } from "../text.js";
import { outcomeText, toWorkspaceView, workspaceRecord } from "./record.js";
import { CORE_AND_INSPECT } from "./tool-sets.js";

/** `pyro workspace list`, `workspace_list`, `listWorkspaces`. */
export const workspaceList = defineOperation({
  name: "workspace_list",
  command: ["workspace", "list"],
  summary: "List the workspaces, the last active first",
  description: "",
  profiles: CORE_AND_INSPECT,
  kind: "read",
  input: z.strictObject({}),
  output: z.object({ count: z.number(), workspaces: z.array(workspaceRecord) }),
  positionals: [],
  examples: [{ command: "pyro workspace list", says: "ids, names, states, last commands" }],
  run: async (_, { pyro, signal }) => {
    const workspaces = (await pyro.listWorkspaces({ signal })).map(toWorkspaceView);
    return { count: workspaces.length, workspaces };
  },
  render: ({ workspaces }) =>
    workspaces.length === 0
      ? "there are no workspaces; `pyro workspace create debian:12` makes one"
      : formatTable([
          ["WORKSPACE", "NAME", "STATE", "ENVIRONMENT", "LAST COMMAND"],
          ...workspaces.map((view) => [
            view.workspace_id,
            view.name ?? "-",
            view.state,
            view.environment,
            view.last_command === null
              ? "-"
              : `${outcomeText(view.last_command)}: ${view.last_command.command.split("\n")[0]?.slice(0, 60) ?? ""}`,
          ]),
        ]),
});
