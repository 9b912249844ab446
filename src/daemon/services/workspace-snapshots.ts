import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type {
  SnapshotSchema,
  WorkspaceDiskService,
} from "../../protocol/gen/pyro/daemon/v1/workspace_disk_pb.js";
import {
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
  type Snapshot,
  type Workspaces,
} from "../../workspace/index.js";
import { requireName, toWorkspace, waitOf } from "./workspace-view.js";

type Calls = Pick<
  ServiceImpl<typeof WorkspaceDiskService>,
  "createSnapshot" | "listSnapshots" | "deleteSnapshot"
>;

/** Named states of workspaces' disks. */
export function snapshotCalls(workspaces: Workspaces): Calls {
  return {
    createSnapshot: async ({ workspace: reference, name, waitMs, memory, allowSecrets }, { signal }) => {
      const workspace = workspaces.find(reference);
      const options = { memory, allowSecrets };
      const operation = createSnapshot(workspace, requireName("snapshot's name", name), options);
      await operation.settle(waitOf(waitMs), signal);
      if (operation.isRunning) return { workspace: toWorkspace(workspace) };
      const snapshot = await operation.result;
      return { workspace: toWorkspace(workspace), snapshot: toSnapshot(snapshot) };
    },
    listSnapshots: async ({ workspace: reference }) => {
      const workspace = workspaces.find(reference);
      const snapshots = await listSnapshots(workspace);
      return { workspaceId: workspace.id, snapshots: snapshots.map(toSnapshot) };
    },
    deleteSnapshot: async ({ workspace: reference, name }) => {
      const workspace = workspaces.find(reference);
      await deleteSnapshot(workspace, name).result;
      return { workspaceId: workspace.id };
    },
  };
}

function toSnapshot({
  createdAtMs,
  bytes,
  secretsInMemory,
  ...rest
}: Snapshot): MessageInitShape<typeof SnapshotSchema> {
  const sizes = { createdAtMs: BigInt(createdAtMs), bytes: BigInt(bytes) };
  return { ...rest, ...sizes, secretsInMemory: [...secretsInMemory] };
}
