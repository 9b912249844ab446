import * as z from "zod";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatTable } from "../text.js";
import { workspaceId } from "./record.js";
import { allowSecrets } from "./secrets.js";
import { REVIEW } from "./tool-sets.js";

const snapshotName = (): z.ZodString =>
  z.string().min(1).max(64).describe("Letters, digits, dots, dashes and underscores");

/** A snapshot, as section 6 of the contract names its fields. */
export const snapshotRecord = z.object({
  snapshot_name: z.string(),
  created_at: z.string(),
  bytes: z.number(),
  deletable: z.boolean(),
  memory: z.boolean(),
  secrets_in_memory: z.array(z.string()),
});

/** `pyro workspace snapshot create`, `snapshot_create`, `createSnapshot`. */
export const snapshotCreate = defineOperation({
  name: "snapshot_create",
  command: ["workspace", "snapshot", "create"],
  summary: "Take a snapshot of a workspace, to which it can be reset",
  description:
    "The whole disk, installed packages too; what runs goes on, and its writes wait for a moment. With --memory also the running machine: a reset brings its processes, shells and services back. Snapshots survive reset.",
  profiles: REVIEW,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    snapshot_name: snapshotName(),
    memory: z.boolean().default(false).describe("Also the running machine: processes, shells, services"),
    allow_secrets: allowSecrets(),
  }),
  fullOnly: ["memory", "allow_secrets"],
  /** Null while it goes on: only for faces that do not wait for its end. */
  output: snapshotRecord.nullable(),
  positionals: ["workspace_id", "snapshot_name"],
  examples: [
    { command: "pyro workspace snapshot create fix-1 installed", says: "before something breaks it" },
    {
      command: "pyro workspace snapshot create fix-1 served --memory",
      says: "with the server that runs in it",
    },
  ],
  run: async (
    { workspace_id: id, snapshot_name: name, memory, allow_secrets: allowSecrets },
    { pyro, signal, waitMs },
  ) =>
    snakeKeys(
      await pyro.createSnapshot(
        { workspaceId: id, snapshotName: name, memory, allowSecrets, waitMs },
        { signal },
      ),
    ) as never,
  render: (view) =>
    view === null
      ? "the snapshot is being taken; `pyro workspace status` waits for it"
      : `snapshot ${view.snapshot_name}: ${formatBytes(view.bytes)}${view.memory ? ", with memory" : ""}`,
});

/** `pyro workspace snapshot list`, `snapshot_list`, `listSnapshots`. */
export const snapshotList = defineOperation({
  name: "snapshot_list",
  command: ["workspace", "snapshot", "list"],
  summary: "List what a workspace can be reset to",
  description: "",
  profiles: REVIEW,
  kind: "read",
  input: z.strictObject({ workspace_id: workspaceId() }),
  output: z.object({ workspace_id: z.string(), count: z.number(), snapshots: z.array(snapshotRecord) }),
  positionals: ["workspace_id"],
  examples: [{ command: "pyro workspace snapshot list fix-1", says: "the baseline is one of them" }],
  run: async ({ workspace_id: id }, { pyro, signal }) => {
    const snapshots = await pyro.listSnapshots(id, { signal });
    return { workspace_id: id, count: snapshots.length, snapshots: snapshots.map(snakeKeys) as never };
  },
  render: ({ snapshots }) => renderSnapshots(snapshots),
});

/** `pyro workspace snapshot delete`, `snapshot_delete`, `deleteSnapshot`. */
export const snapshotDelete = defineOperation({
  name: "snapshot_delete",
  command: ["workspace", "snapshot", "delete"],
  summary: "Delete a snapshot of a workspace",
  description: "What other snapshots or the workspace itself need of it stays.",
  profiles: REVIEW,
  kind: "write",
  input: z.strictObject({ workspace_id: workspaceId(), snapshot_name: snapshotName() }),
  output: z.object({ workspace_id: z.string(), snapshot_name: z.string(), deleted: z.literal(true) }),
  positionals: ["workspace_id", "snapshot_name"],
  examples: [{ command: "pyro workspace snapshot delete fix-1 installed", says: "the baseline stays" }],
  run: async ({ workspace_id: id, snapshot_name: name }, { pyro, signal }) => {
    const deleted = await pyro.deleteSnapshot({ workspaceId: id, snapshotName: name }, { signal });
    return {
      ...{ workspace_id: deleted.workspaceId, snapshot_name: deleted.snapshotName },
      deleted: true as const,
    };
  },
  render: ({ snapshot_name: name }) => `snapshot ${name} is deleted`,
});

/** Snapshots for people. */
function renderSnapshots(snapshots: readonly z.output<typeof snapshotRecord>[]): string {
  return formatTable(
    snapshots.map(({ snapshot_name: name, created_at: at, bytes, memory }) => [
      ...[name, at, formatBytes(bytes)],
      memory ? "with memory" : "disk",
    ]),
  );
}
