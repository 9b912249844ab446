import type { ServiceImpl } from "@connectrpc/connect";
import type { WorkspaceDiskService } from "../../protocol/gen/pyro/daemon/v1/workspace_disk_pb.js";
import { LIMITS } from "../../protocol/index.js";
import { exportDisk, listDisk, readDisk, saveEnvironment, type Workspaces } from "../../workspace/index.js";
import { withRedactedErrors } from "./redacted-errors.js";
import { snapshotCalls } from "./workspace-snapshots.js";
import { toWorkspace, waitOf } from "./workspace-view.js";

type DiskCalls = Pick<
  ServiceImpl<typeof WorkspaceDiskService>,
  "listDisk" | "readDisk" | "exportDisk" | "saveEnvironment"
>;

/** The WorkspaceDiskService. */
export function workspaceDiskService(workspaces: Workspaces): ServiceImpl<typeof WorkspaceDiskService> {
  return withRedactedErrors({ ...snapshotCalls(workspaces), ...diskCalls(workspaces) }, workspaces);
}

/** Disks of stopped workspaces. */
function diskCalls(workspaces: Workspaces): DiskCalls {
  return {
    listDisk: async ({ workspace: reference, path, recursive, maxEntries }) => {
      const request = { path, recursive, maxEntries: maxEntries || LIMITS.listedEntries };
      const listing = await listDisk(workspaces.find(reference), request);
      return {
        ...{ path: listing.path, truncated: listing.truncated },
        entries: listing.entries.map(({ path: name, type, sizeBytes, linkTarget, mode }) => ({
          ...{ path: name, artifactType: type, sizeBytes: BigInt(sizeBytes), linkTarget, mode },
        })),
      };
    },
    readDisk: async function* ({ workspace: reference, path, offset, maxBytes }) {
      const window = { path, offset: Number(offset), maxBytes: Number(maxBytes) };
      const { sizeBytes, data } = await readDisk(workspaces.find(reference), window);
      yield { sizeBytes: BigInt(sizeBytes) };
      for (let at = 0; at < data.length; at += LIMITS.bulkChunkBytes)
        yield { data: data.subarray(at, at + LIMITS.bulkChunkBytes) };
    },
    saveEnvironment: async (request, { signal }) => {
      const { workspace: reference, waitMs, name, overwrite, allowSecrets } = request;
      const workspace = workspaces.find(reference);
      const operation = saveEnvironment(workspace, { name, overwrite, allowSecrets });
      await operation.settle(waitOf(waitMs), signal);
      if (operation.isRunning) return { workspace: toWorkspace(workspace) };
      const { sizeBytes, entryCount, ...rest } = await operation.result;
      const sizes = { sizeBytes: BigInt(sizeBytes), entryCount: BigInt(entryCount) };
      return { workspace: toWorkspace(workspace), result: { ...rest, ...sizes } };
    },
    exportDisk: async ({ workspace: reference, outputPath, overwrite, waitMs }, { signal }) => {
      const workspace = workspaces.find(reference);
      const operation = exportDisk(workspace, { outputPath, overwrite });
      await operation.settle(waitOf(waitMs), signal);
      if (operation.isRunning) return { workspace: toWorkspace(workspace) };
      const { bytesWritten, ...rest } = await operation.result;
      return { workspace: toWorkspace(workspace), result: { ...rest, bytesWritten: BigInt(bytesWritten) } };
    },
  };
}
