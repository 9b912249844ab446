import type {
  DiffEntry as WireDiffEntry,
  DiffSummary as WireDiffSummary,
} from "../protocol/gen/pyro/daemon/v1/workspace_file_pb.js";
import type {
  PushResult as WirePush,
  WorkspaceSummary as WireSummary,
} from "../protocol/gen/pyro/daemon/v1/workspace_pb.js";
import { toServiceRecord, type ServiceRecord } from "./service-record.js";
import { toSync, type ArtifactType, type HostExecutable, type WorkspaceSync } from "./transfer-result.js";
import {
  toWorkspaceCommand,
  toWorkspaceRecord,
  type WorkspaceCommandRecord,
  type WorkspaceRecord,
} from "./workspace-record.js";

/** What a push brought; `workspaceSync` is null while it goes on. */
export interface WorkspacePush {
  readonly workspaceId: string;
  readonly workspaceSync: Omit<WorkspaceSync, "warnings"> | null;
  readonly warnings: readonly string[];
}

/** One path that differs from the baseline. */
export interface WorkspaceDiffEntry {
  readonly path: string;
  readonly change: "added" | "modified" | "deleted" | "renamed";
  /** Of a renamed one. */
  readonly from: string | null;
  readonly artifactType: ArtifactType;
  readonly binary: boolean;
  readonly insertions: number;
  readonly deletions: number;
  /** Permission bits in octal; null where there was, or is, nothing. */
  readonly oldMode: string | null;
  readonly newMode: string | null;
}

export interface WorkspaceDiffSummary {
  readonly added: number;
  readonly modified: number;
  readonly deleted: number;
  readonly renamed: number;
  readonly binary: number;
  readonly insertions: number;
  readonly deletions: number;
}

/** What differs from the baseline. */
export interface WorkspaceDiff {
  readonly workspaceId: string;
  readonly changed: boolean;
  readonly summary: WorkspaceDiffSummary;
  readonly entries: readonly WorkspaceDiffEntry[];
  /** The window of the patch that was asked for. */
  readonly patch: Uint8Array;
  /** Of all of it. */
  readonly patchBytes: number;
  /** Where the window begins, and whether the patch goes on behind it. */
  readonly offset: number;
  readonly truncated: boolean;
}

/** What a person wants to know before taking the work home. */
export interface WorkspaceSummaryRecord {
  readonly workspace: WorkspaceRecord;
  readonly commands: readonly WorkspaceCommandRecord[];
  readonly events: readonly {
    readonly at: string;
    readonly kind: string;
    readonly path: string;
    readonly detail: string;
  }[];
  readonly changes: WorkspaceDiffSummary;
  readonly changedFiles: readonly WorkspaceDiffEntry[];
  readonly hostExecutablePaths: readonly HostExecutable[];
  readonly services: readonly ServiceRecord[];
}

export function toPush(workspaceId: string, result: WirePush | undefined): WorkspacePush {
  if (result === undefined) return { workspaceId, workspaceSync: null, warnings: [] };
  const { warnings, ...workspaceSync } = toSync(result);
  return { workspaceId, workspaceSync, warnings };
}

export function toDiffEntry(entry: WireDiffEntry): WorkspaceDiffEntry {
  const { path, change, from, artifactType, binary, insertions, deletions, oldMode, newMode } = entry;
  return {
    path,
    change: change as WorkspaceDiffEntry["change"],
    from: from === "" ? null : from,
    artifactType: artifactType as ArtifactType,
    ...{ binary, insertions, deletions },
    oldMode: oldMode === "" ? null : oldMode,
    newMode: newMode === "" ? null : newMode,
  };
}

export function toDiffSummary(summary: WireDiffSummary | undefined): WorkspaceDiffSummary {
  const { added = 0, modified = 0, deleted = 0, renamed = 0 } = summary ?? {};
  const { binary = 0, insertions = 0, deletions = 0 } = summary ?? {};
  return { added, modified, deleted, renamed, binary, insertions, deletions };
}

export function toSummary(summary: WireSummary): WorkspaceSummaryRecord | undefined {
  if (summary.workspace === undefined) return undefined;
  return {
    workspace: toWorkspaceRecord(summary.workspace),
    commands: summary.commands.map(toWorkspaceCommand),
    events: summary.events.map(({ atMs, kind, path, detail }) => ({
      at: new Date(Number(atMs)).toISOString(),
      ...{ kind, path, detail },
    })),
    changes: toDiffSummary(summary.changes),
    changedFiles: summary.changedFiles.map(toDiffEntry),
    hostExecutablePaths: summary.hostExecutablePaths.map(({ path, why }) => ({ path, why })),
    services: summary.services.map(toServiceRecord),
  };
}
