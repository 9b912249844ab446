import { link, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { failpoint, freshId } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { captureRunning } from "./capturing.js";
import type { Operation } from "./operation.js";
import { createRecord, newRecord, pathsOf, saveRecord, type WorkspaceRecord } from "./record.js";
import { allowInMemory } from "./secrets-in-memory.js";
import { saveSecrets } from "./secrets/index.js";
import { copyRunning } from "./snapshot-memory.js";
import type { Workspace } from "./workspace.js";
import { stoppedByUser } from "./workspace-errors.js";
import type { CapturedMachine } from "./workspace-machine.js";

/** What a fork is to make. */
export interface ForkRequest {
  readonly count: number;
  /** Names are the prefix and "-1", "-2", …; null: children have no names. */
  readonly namePrefix: string | null;
  /** Also while a live process holds a secret. */
  readonly allowSecrets?: boolean;
  /** Where workspaces are. */
  readonly directory: string;
}

/** Children on the disk: each with a record and layers of its own, and no machine yet. */
export interface Brood extends AsyncDisposable {
  readonly records: readonly WorkspaceRecord[];
  /** What their machines go on from; it is gone when the brood is disposed of. */
  readonly captured: CapturedMachine;
}

/**
 * Takes a running workspace as it is, processes and memory, and lays out its children. It pauses for the device state, a
 * new layer and one copy of the memory in use; then it goes on. When this rejects, nothing of the children is left.
 * @throws {PyroError} INVALID_ARGUMENT, WORKSPACE_STOPPED, SECRET_IN_MEMORY, VM_SAVE_FAILED, MEMORY_FULL, DISK_FULL, SNAPSHOT_LIMIT
 */
export function beginFork(parent: Workspace, request: ForkRequest): Operation<Brood> {
  return parent.change("fork", async (change) => {
    requireCount(request.count);
    const { machine } = change;
    if (machine === undefined) throw stoppedByUser(parent.id);
    const secretsInMemory = await allowInMemory(parent, "fork", request.allowSecrets ?? false);
    const records = newChildren(parent, request, change.nowMs).map((record) => ({
      ...record,
      secretsInMemory,
    }));
    const directoryOf = ({ workspaceId }: WorkspaceRecord): string => join(request.directory, workspaceId);
    let captured: CapturedMachine | undefined;
    try {
      for (const record of records) {
        const paths = pathsOf(directoryOf(record));
        await createRecord(paths, record);
        if (parent.secrets.all.length > 0) await saveSecrets(paths.secrets, parent.secrets.all);
      }
      failpoint("fork.recorded");
      captured = await captureRunning(parent, change, machine, async (sequences) => {
        for (const record of records)
          await copyRunning(sequences, parent.paths, pathsOf(directoryOf(record)));
      });
      failpoint("fork.captured");
      const laidOut = [];
      for (const record of records) laidOut.push(await layOut(parent, record, directoryOf(record)));
      failpoint("fork.laid-out");
      return {
        records: laidOut,
        captured,
        [Symbol.asyncDispose]: captured[Symbol.asyncDispose].bind(captured),
      };
    } catch (error) {
      await captured?.[Symbol.asyncDispose]();
      for (const record of records) await rm(directoryOf(record), { recursive: true, force: true });
      throw error;
    }
  });
}

/** Layers of its own by name; the files are the parent's, which are never written again. */
async function layOut(
  parent: Workspace,
  child: WorkspaceRecord,
  directory: string,
): Promise<WorkspaceRecord> {
  const { imageDigest, config, layers, isolation, sealedFiles } = parent.record;
  const paths = pathsOf(directory);
  await link(parent.paths.baseline, paths.baseline);
  await mkdir(paths.layers, { recursive: true, mode: 0o700 });
  for (const layer of layers) {
    const file = `${layer}.qcow2`;
    await link(join(parent.paths.layers, file), join(paths.layers, file));
  }
  const record = { ...child, imageDigest, config, layers, isolation, sealedFiles, diskInUse: true };
  await saveRecord(paths, record);
  return record;
}

function newChildren(
  parent: Workspace,
  { count, namePrefix }: ForkRequest,
  nowMs: number,
): WorkspaceRecord[] {
  const {
    environment,
    labels,
    vcpuCount,
    memMib,
    ttlSeconds,
    seed,
    warnings,
    lastSequence,
    secrets,
    network,
  } = parent.record;
  return Array.from({ length: count }, (_, index) => {
    const name = namePrefix === null ? null : `${namePrefix}-${index + 1}`;
    const shape = { environment, vcpuCount, memMib, ttlSeconds, secrets };
    const own = { network, workspaceId: freshId("ws"), name, labels, ...shape };
    return { ...newRecord(own, nowMs), seed, warnings, lastSequence, sourceWorkspaceId: parent.id };
  });
}

function requireCount(count: number): void {
  if (Number.isInteger(count) && count >= 1 && count <= LIMITS.forkCountMax) return;
  throw new PyroError("INVALID_ARGUMENT", `a fork cannot make ${count} workspaces`, {
    hint: `use 1 to ${LIMITS.forkCountMax}`,
  });
}
