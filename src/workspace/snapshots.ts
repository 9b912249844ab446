import { LIMITS, PyroError } from "../protocol/index.js";
import { allocatedBytes } from "./disk-chain.js";
import type { Operation } from "./operation.js";
import type { SnapshotRecord, WorkspaceRecord } from "./record.js";
import { BASELINE, requireSnapshot } from "./snapshot-record.js";
import type { Workspace } from "./workspace.js";

/** A snapshot as it is shown. */
export interface Snapshot {
  readonly name: string;
  readonly createdAtMs: number;
  /** What it takes on the disk beyond what lies below it. */
  readonly bytes: number;
  readonly deletable: boolean;
}

/**
 * Takes a snapshot of a workspace's disk, running or stopped. What runs goes on; its writes wait meanwhile. The
 * operation rejects with SNAPSHOT_EXISTS, SNAPSHOT_LIMIT, DISK_FULL, what a machine throws.
 */
export function createSnapshot(workspace: Workspace, name: string): Operation<Snapshot> {
  return workspace.change("snapshot", async ({ chain, record, machine, nowMs }) => {
    if (name === BASELINE || record.snapshots.some((each) => each.name === name)) {
      throw taken(record, name);
    }
    if (record.snapshots.length >= LIMITS.workspaceSnapshots) throw tooMany(record);
    await chain.seal({ name, createdAtMs: nowMs }, machine);
    return shown(requireSnapshot(workspace.record, name));
  });
}

/** Forgets a snapshot, and removes the layers that nothing else needs. */
export function deleteSnapshot(workspace: Workspace, name: string): Operation<void> {
  return workspace.change("snapshot", async ({ chain, record, save }) => {
    if (name === BASELINE) throw notDeletable(record);
    requireSnapshot(record, name);
    await save({ snapshots: record.snapshots.filter((each) => each.name !== name) });
    await chain.sweep();
  });
}

/** The snapshots of a workspace, the oldest first: its baseline, where it has one, and those that were taken. */
export async function listSnapshots({ record, paths }: Workspace): Promise<readonly Snapshot[]> {
  const bytes = await allocatedBytes(paths.baseline).catch(() => undefined);
  const { createdAtMs, snapshots } = record;
  return [
    ...(bytes === undefined ? [] : [{ name: BASELINE, createdAtMs, bytes, deletable: false }]),
    ...snapshots.map(shown),
  ];
}

function shown({ name, createdAtMs, bytes }: SnapshotRecord): Snapshot {
  return { name, createdAtMs, bytes, deletable: true };
}

function taken(record: WorkspaceRecord, name: string): PyroError {
  return new PyroError("SNAPSHOT_EXISTS", `workspace ${record.workspaceId} has a snapshot ${name} already`, {
    hint:
      name === BASELINE
        ? "it is what the workspace was created with; choose another name"
        : `choose another name, or delete it: \`pyro workspace snapshot delete ${record.workspaceId} ${name}\``,
  });
}

function tooMany({ workspaceId, snapshots }: WorkspaceRecord): PyroError {
  return new PyroError(
    "SNAPSHOT_LIMIT",
    `workspace ${workspaceId} has ${snapshots.length} snapshots already`,
    {
      hint: `delete one of them: \`pyro workspace snapshot list ${workspaceId}\``,
    },
  );
}

function notDeletable({ workspaceId }: WorkspaceRecord): PyroError {
  return new PyroError("INVALID_ARGUMENT", `the baseline of workspace ${workspaceId} cannot be deleted`, {
    hint: `it goes with the workspace: \`pyro workspace delete ${workspaceId}\``,
  });
}
