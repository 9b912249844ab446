import { failpoint } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { allocatedBytes } from "./allocated.js";
import { captureRunning } from "./capturing.js";
import type { Operation } from "./operation.js";
import type { SnapshotRecord, WorkspaceRecord } from "./record.js";
import { allowInMemory } from "./secrets-in-memory.js";
import { copyRunning, imageOf, runningOf, SnapshotMemory } from "./snapshot-memory.js";
import { BASELINE, requireSnapshot } from "./snapshot-record.js";
import type { Change } from "./workspace-parts.js";
import type { Workspace } from "./workspace.js";
import type { WorkspaceMachine } from "./workspace-machine.js";

/** A snapshot as it is shown. */
export interface Snapshot {
  readonly name: string;
  readonly createdAtMs: number;
  /** What it takes on the disk beyond what lies below it. */
  readonly bytes: number;
  readonly deletable: boolean;
  /** Whether the running machine is in it: processes, shells and services go on where they were. */
  readonly memory: boolean;
  /** Names of the secrets that live processes held then. */
  readonly secretsInMemory: readonly string[];
}

/** What a snapshot is to be of. */
export interface SnapshotOptions {
  /** The running machine as well as its disk. */
  readonly memory?: boolean;
  /** With memory: also while a live process holds a secret. */
  readonly allowSecrets?: boolean;
}

/**
 * Takes a snapshot of a workspace's disk, running or stopped, or of a running one with its memory. What runs goes on: its
 * writes wait meanwhile, or with memory all of it. The operation rejects with SNAPSHOT_EXISTS, SNAPSHOT_LIMIT, DISK_FULL,
 * SECRET_IN_MEMORY, WORKSPACE_STOPPED, what a machine throws.
 */
export function createSnapshot(
  workspace: Workspace,
  name: string,
  { memory = false, allowSecrets = false }: SnapshotOptions = {},
): Operation<Snapshot> {
  return workspace.change("snapshot", async (change) => {
    const { chain, record, machine, nowMs } = change;
    if (name === BASELINE || record.snapshots.some((each) => each.name === name)) {
      throw taken(record, name);
    }
    if (record.snapshots.length >= LIMITS.workspaceSnapshots) throw tooMany(record);
    if (!memory) await chain.seal({ name, createdAtMs: nowMs }, machine);
    else if (machine === undefined) throw nothingInMemory(record);
    else {
      const secrets = await allowInMemory(workspace, "snapshot create --memory", allowSecrets);
      await takeWithMemory(workspace, change, machine, { name, secrets });
    }
    return shown(requireSnapshot(workspace.record, name));
  });
}

/** It runs on while what was captured is written to the disk; the name comes last. */
async function takeWithMemory(
  workspace: Workspace,
  change: Change,
  machine: WorkspaceMachine,
  { name, secrets }: { readonly name: string; readonly secrets: string[] },
): Promise<void> {
  const { chain, report, nowMs, save } = change;
  report({ message: "saving its memory" });
  // Whoever gives the memory up loses nothing that was written.
  await machine.flush();
  const kept = new SnapshotMemory(workspace.paths);
  try {
    const making = await kept.begin();
    await using captured = await captureRunning(workspace, change, machine, (sequences) =>
      copyRunning(sequences, workspace.paths, runningOf(making)),
    );
    failpoint("memory.captured");
    await captured.store(imageOf(making), workspace.signal);
    await kept.place();
    const layers = [...workspace.record.layers];
    const bytes = (await allocatedBytes(chain.fileOf(layers.at(-1) ?? ""))) + (await kept.bytes());
    const snapshot = { name, createdAtMs: nowMs, layers, bytes, memory: { id: kept.id, secrets } };
    await save({ snapshots: [...workspace.record.snapshots, snapshot] });
  } catch (error) {
    await kept.remove();
    throw error;
  }
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
    ...(bytes === undefined ? [] : [shown({ name: BASELINE, createdAtMs, bytes, memory: null })]),
    ...snapshots.map(shown),
  ];
}

function shown({ name, createdAtMs, bytes, memory }: Omit<SnapshotRecord, "layers">): Snapshot {
  const holds = { memory: memory !== null, secretsInMemory: memory?.secrets ?? [] };
  return { name, createdAtMs, bytes, deletable: name !== BASELINE, ...holds };
}

function taken(record: WorkspaceRecord, name: string): PyroError {
  return new PyroError("SNAPSHOT_EXISTS", `workspace ${record.workspaceId} has a snapshot ${name} already`, {
    hint:
      name === BASELINE
        ? "it is what the workspace was created with; choose another name"
        : `choose another name, or delete it: \`pyro workspace snapshot delete ${record.workspaceId} ${name}\``,
  });
}

function nothingInMemory({ workspaceId }: WorkspaceRecord): PyroError {
  return new PyroError(
    "WORKSPACE_STOPPED",
    `workspace ${workspaceId} does not run: it has no memory to take`,
    {
      hint: `start it first: \`pyro workspace start ${workspaceId}\`; or take its disk alone`,
    },
  );
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
