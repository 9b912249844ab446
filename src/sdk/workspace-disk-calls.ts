import { LIMITS } from "../protocol/index.js";
import type { Snapshot as WireSnapshot } from "../protocol/gen/pyro/daemon/v1/workspace_disk_pb.js";
import type { CallOptions } from "./call.js";
import type { WaitOptions } from "./workspace-calls.js";
import { WorkspaceFileCalls } from "./workspace-file-calls.js";

/** A named state of a workspace's disk, to which it can be reset. */
export interface WorkspaceSnapshot {
  readonly snapshotName: string;
  /** ISO 8601 */
  readonly createdAt: string;
  /** What it takes on the disk of this host beyond what lies below it. */
  readonly bytes: number;
  /** False for the baseline. */
  readonly deletable: boolean;
  /** Whether it holds the running machine too. */
  readonly memory: boolean;
}

/** The calls about the disks of workspaces. */
export abstract class WorkspaceDiskCalls extends WorkspaceFileCalls {
  /**
   * Takes a snapshot of a workspace's whole disk, running or stopped; what runs goes on. Null while it goes on.
   * @throws {PyroError} SNAPSHOT_EXISTS, SNAPSHOT_LIMIT
   */
  async createSnapshot(
    options: { readonly workspaceId: string; readonly snapshotName: string } & Pick<WaitOptions, "waitMs">,
    call: CallOptions = {},
  ): Promise<WorkspaceSnapshot | null> {
    const { workspaceId, snapshotName } = options;
    const waitMs = Math.min(options.waitMs ?? LIMITS.longestWaitMs, LIMITS.longestWaitMs);
    const request = { workspace: workspaceId, name: snapshotName, waitMs };
    return await this.client.call("taking the snapshot", call, async ({ workspaceDisk }, { signal }) => {
      const { snapshot } = await workspaceDisk.createSnapshot(request, { signal });
      return snapshot === undefined ? null : toSnapshot(snapshot);
    });
  }

  /** The snapshots of a workspace, the oldest first; the baseline is the first of all. */
  async listSnapshots(workspaceId: string, call: CallOptions = {}): Promise<readonly WorkspaceSnapshot[]> {
    return await this.client.call("listing the snapshots", call, async ({ workspaceDisk }, { signal }) =>
      (await workspaceDisk.listSnapshots({ workspace: workspaceId }, { signal })).snapshots.map(toSnapshot),
    );
  }

  /**
   * Forgets a snapshot; what other snapshots or the workspace itself need of it stays.
   * @throws {PyroError} SNAPSHOT_NOT_FOUND, INVALID_ARGUMENT for the baseline
   */
  async deleteSnapshot(
    options: { readonly workspaceId: string; readonly snapshotName: string },
    call: CallOptions = {},
  ): Promise<{ readonly workspaceId: string; readonly snapshotName: string }> {
    const { workspaceId, snapshotName } = options;
    const request = { workspace: workspaceId, name: snapshotName };
    return await this.client.call("deleting the snapshot", call, async ({ workspaceDisk }, { signal }) => ({
      workspaceId: (await workspaceDisk.deleteSnapshot(request, { signal })).workspaceId,
      snapshotName,
    }));
  }
}

function toSnapshot({ name, createdAtMs, bytes, deletable, memory }: WireSnapshot): WorkspaceSnapshot {
  return {
    ...{ snapshotName: name, createdAt: new Date(Number(createdAtMs)).toISOString() },
    ...{ bytes: Number(bytes), deletable, memory },
  };
}
