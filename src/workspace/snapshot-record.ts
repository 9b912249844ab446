import { PyroError } from "../protocol/index.js";
import type { SnapshotRecord, WorkspaceRecord } from "./record.js";

/** The name of what every workspace can be reset to. */
export const BASELINE = "baseline";

/**
 * The layers that a workspace is reset to.
 * @throws {PyroError} SNAPSHOT_NOT_FOUND
 */
export function layersOf(record: WorkspaceRecord, name: string): readonly string[] {
  return name === BASELINE ? [] : requireSnapshot(record, name).layers;
}

/** @throws {PyroError} SNAPSHOT_NOT_FOUND */
export function requireSnapshot(record: WorkspaceRecord, name: string): SnapshotRecord {
  const found = record.snapshots.find((each) => each.name === name);
  if (found !== undefined) return found;
  const shownName = JSON.stringify(name.slice(0, 80));
  throw new PyroError("SNAPSHOT_NOT_FOUND", `workspace ${record.workspaceId} has no snapshot ${shownName}`, {
    hint: `the snapshots that it has: ${namesOf(record)}`,
  });
}

function namesOf({ snapshots }: WorkspaceRecord): string {
  return [BASELINE, ...snapshots.map(({ name }) => name)].join(", ");
}
