import * as z from "zod";
import { defineOperation } from "../operation.js";
import { following, renderWorkspace, toWorkspaceView, workspaceId, workspaceRecord } from "./record.js";
import { allowSecrets } from "./secrets.js";
import { CORE, CORE_AND_INSPECT, FULL } from "./tool-sets.js";

const input = z.strictObject({ workspace_id: workspaceId() });

/** `pyro workspace start`, `startWorkspace`. */
export const workspaceStart = defineOperation({
  name: "workspace_start",
  command: ["workspace", "start"],
  summary: "Start a stopped workspace over what its disk holds",
  description:
    "A suspended one goes on where it was. One that stopped by itself (its TTL, a crash) starts again when it is used.",
  profiles: FULL,
  kind: "write",
  input,
  output: workspaceRecord,
  positionals: ["workspace_id"],
  examples: [{ command: "pyro workspace start fix-1", says: "/workspace is as it was" }],
  run: async ({ workspace_id: id }, { pyro, signal, onProgress }) =>
    toWorkspaceView(await pyro.startWorkspace(id, following(onProgress), { signal })),
  render: renderWorkspace,
});

/** `pyro workspace stop`, `stopWorkspace`. */
export const workspaceStop = defineOperation({
  name: "workspace_stop",
  command: ["workspace", "stop"],
  summary: "Stop a workspace: its disk is kept, its memory and commands end",
  description:
    "With --suspend the memory is kept too, on the host's disk: a start lets all go on where it was, commands and " +
    "all, in under a second. A stop of a suspended one gives its memory up.",
  profiles: FULL,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    suspend: z.boolean().default(false).describe("Keep the memory: start goes on where it was"),
    allow_secrets: allowSecrets(),
  }),
  output: workspaceRecord,
  positionals: ["workspace_id"],
  examples: [
    { command: "pyro workspace stop fix-1", says: "it costs no memory any more" },
    { command: "pyro workspace stop fix-1 --suspend", says: "what runs in it goes on at the next start" },
  ],
  run: async ({ workspace_id: id, suspend, allow_secrets: allowSecrets }, { pyro, signal, onProgress }) =>
    toWorkspaceView(
      await pyro.stopWorkspace(id, { suspend, allowSecrets, ...following(onProgress) }, { signal }),
    ),
  render: renderWorkspace,
});

/** `pyro workspace reset`, `workspace_reset`, `resetWorkspace`. */
export const workspaceReset = defineOperation({
  name: "workspace_reset",
  command: ["workspace", "reset"],
  summary: "Rebuild a workspace from its baseline or a snapshot",
  description:
    "The whole sandbox is rebuilt, /tmp and installed packages included; id, name, labels, size and snapshots stay. " +
    "Commands are ended and the history is cleared.",
  profiles: CORE,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    snapshot: z.string().max(64).default("baseline").describe("What it is rebuilt from"),
  }),
  output: workspaceRecord,
  positionals: ["workspace_id"],
  examples: [
    { command: "pyro workspace reset fix-1", says: "as it was created" },
    { command: "pyro workspace reset fix-1 --snapshot installed", says: "as it was then" },
  ],
  run: async ({ workspace_id: id, snapshot }, { pyro, signal, onProgress, waitMs }) =>
    toWorkspaceView(
      await pyro.resetWorkspace(id, { snapshot, waitMs, ...following(onProgress) }, { signal }),
    ),
  render: renderWorkspace,
});

/** `pyro workspace delete`, `workspace_delete`, `deleteWorkspace`. */
export const workspaceDelete = defineOperation({
  name: "workspace_delete",
  command: ["workspace", "delete"],
  summary: "Delete a workspace and all that is in it",
  description: "What was not exported is gone.",
  profiles: CORE_AND_INSPECT,
  kind: "write",
  input,
  output: z.object({ workspace_id: z.string(), deleted: z.literal(true) }),
  positionals: ["workspace_id"],
  examples: [{ command: "pyro workspace delete fix-1", says: "its commands are ended" }],
  run: async ({ workspace_id: id }, { pyro, signal }) => {
    const { workspaceId: deletedId } = await pyro.deleteWorkspace(id, { signal });
    return { workspace_id: deletedId, deleted: true as const };
  },
  render: ({ workspace_id: id }) => `workspace ${id} is deleted`,
});
