import { LIMITS } from "../protocol/index.js";
import type { Snapshot as WireSnapshot } from "../protocol/gen/pyro/daemon/v1/workspace_disk_pb.js";
import { sleep } from "../kit/index.js";
import { unreachable, type CallOptions } from "./call.js";
import type { WaitOptions } from "./workspace-calls.js";
import {
  collectFile,
  toFileList,
  toReadRequest,
  WorkspaceFileCalls,
  type WorkspaceFileContent,
  type WorkspaceFileList,
} from "./workspace-file-calls.js";
import { requireAbsolute } from "./workspace-source.js";

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
  /** Names of the secrets that live processes held then: their values are in that memory. */
  readonly secretsInMemory: readonly string[];
}

/** A stopped workspace's disk as a file of the host. */
export interface WorkspaceDiskExport {
  readonly outputPath: string;
  readonly diskFormat: "ext4";
  /** Of the image, holes included. */
  readonly bytesWritten: number;
}

/** An environment that was made of a workspace. */
export interface SavedEnvironment {
  readonly workspaceId: string;
  /** By which workspaces and runs name it from now on. */
  readonly environment: string;
  /** "sha256:…" of its image. */
  readonly digest: string;
  /** Bytes on disk. */
  readonly sizeBytes: number;
  readonly entryCount: number;
  readonly durationMs: number;
}

/** How often a face is told how far it is. */
const LOOK_MS = 500;

/** The calls about the disks of workspaces. */
export abstract class WorkspaceDiskCalls extends WorkspaceFileCalls {
  /**
   * Takes a snapshot of a workspace's whole disk, running or stopped, and with `memory` of the running machine as well; what
   * runs goes on. Null while it goes on.
   * @throws {PyroError} SNAPSHOT_EXISTS, SNAPSHOT_LIMIT; with `memory` WORKSPACE_STOPPED, SECRET_IN_MEMORY
   */
  async createSnapshot(
    options: {
      readonly workspaceId: string;
      readonly snapshotName: string;
      /** Processes, shells and services too: a reset brings them back. */
      readonly memory?: boolean | undefined;
      /** With `memory`: also while a live process holds a secret. */
      readonly allowSecrets?: boolean | undefined;
    } & Pick<WaitOptions, "waitMs">,
    call: CallOptions = {},
  ): Promise<WorkspaceSnapshot | null> {
    const { workspaceId, snapshotName, memory = false, allowSecrets = false } = options;
    const waitMs = Math.min(options.waitMs ?? LIMITS.longestWaitMs, LIMITS.longestWaitMs);
    const request = { workspace: workspaceId, name: snapshotName, waitMs, memory, allowSecrets };
    return await this.client.call(
      "workspaceDisk",
      "taking the snapshot",
      call,
      async (workspaceDisk, { signal }) => {
        const { snapshot } = await workspaceDisk.createSnapshot(request, { signal });
        return snapshot === undefined ? null : toSnapshot(snapshot);
      },
    );
  }

  /** The snapshots of a workspace, the oldest first; the baseline is the first of all. */
  async listSnapshots(workspaceId: string, call: CallOptions = {}): Promise<readonly WorkspaceSnapshot[]> {
    return await this.client.call(
      "workspaceDisk",
      "listing the snapshots",
      call,
      async (workspaceDisk, { signal }) =>
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
    return await this.client.call(
      "workspaceDisk",
      "deleting the snapshot",
      call,
      async (workspaceDisk, { signal }) => ({
        workspaceId: (await workspaceDisk.deleteSnapshot(request, { signal })).workspaceId,
        snapshotName,
      }),
    );
  }

  /**
   * Makes an environment of a workspace's disk: what was installed, without /workspace, the machine's own identity and what it
   * was given of the host. What runs goes on; a suspended one is saved as its disk is.
   * @throws {PyroError} INVALID_ARGUMENT, ENVIRONMENT_EXISTS unless `overwrite`, SECRET_ON_DISK unless `allowSecrets`,
   *   ENVIRONMENT_BUSY, ENVIRONMENT_BUILD_FAILED, DISK_FULL
   */
  async saveEnvironment(
    options: {
      readonly workspaceId: string;
      /** Of the environment: lower-case letters and digits, joined by ., _ or -, and a tag after a colon. */
      readonly name: string;
      /** In the place of one of that name. */
      readonly overwrite?: boolean | undefined;
      /** Also while files on the disk hold a secret of the workspace. */
      readonly allowSecrets?: boolean | undefined;
    } & Pick<WaitOptions, "onProgress">,
    call: CallOptions = {},
  ): Promise<SavedEnvironment> {
    const { workspaceId, name, overwrite = false, allowSecrets = false, onProgress } = options;
    const request = { workspace: workspaceId, name, overwrite, allowSecrets, waitMs: LIMITS.longestWaitMs };
    const startedAt = performance.now();
    return await this.client.call(
      "workspaceDisk",
      "saving the workspace",
      call,
      async (workspaceDisk, { signal }) => {
        const saving = workspaceDisk.saveEnvironment(request, { signal });
        const over = saving.then(
          () => true,
          () => true,
        );
        while (onProgress !== undefined && !(await Promise.race([over, sleep(LOOK_MS).then(() => false)]))) {
          // It only looks: what fails is told by the call itself.
          const record = await this.statusWorkspace(workspaceId, {}, call).catch(() => undefined);
          if (record?.operation?.kind === "save") onProgress(record);
        }
        const { workspace, result } = await saving;
        if (result === undefined) throw unreachable(new Error("the daemon ended the call without a result"));
        return {
          ...{ workspaceId: workspace?.workspaceId ?? workspaceId, environment: result.name },
          ...{ digest: result.digest, sizeBytes: Number(result.sizeBytes) },
          ...{ entryCount: Number(result.entryCount), durationMs: Math.round(performance.now() - startedAt) },
        };
      },
    );
  }

  /**
   * What is in a directory of a stopped workspace's disk, or the one thing at a path. Paths are absolute, of the whole
   * disk, or below /workspace. Nothing on the disk is run.
   * @throws {PyroError} WORKSPACE_RUNNING, DISK_DAMAGED
   */
  async listWorkspaceDisk(
    options: { readonly workspaceId: string; readonly path?: string; readonly recursive?: boolean },
    call: CallOptions = {},
  ): Promise<WorkspaceFileList> {
    const { workspaceId, path = "", recursive = false } = options;
    const request = { workspace: workspaceId, path, recursive };
    return await this.client.call(
      "workspaceDisk",
      "listing the disk",
      call,
      async (workspaceDisk, { signal }) => toFileList(await workspaceDisk.listDisk(request, { signal })),
    );
  }

  /** A window of a regular file on a stopped workspace's disk; default from its beginning, 65,536 bytes. */
  async readWorkspaceDisk(
    options: {
      readonly workspaceId: string;
      readonly path: string;
      readonly offset?: number;
      readonly maxBytes?: number;
    },
    call: CallOptions = {},
  ): Promise<WorkspaceFileContent> {
    const request = toReadRequest(options);
    return await this.client.call(
      "workspaceDisk",
      "reading the disk",
      call,
      async (workspaceDisk, { signal }) => collectFile(workspaceDisk.readDisk(request, { signal }), request),
    );
  }

  /**
   * Brings the whole disk of a stopped workspace to the host, as one raw ext4 image; null while it goes on.
   * @throws {PyroError} WORKSPACE_RUNNING, EXPORT_EXISTS unless `overwrite`, EXPORT_FAILED, DISK_FULL
   */
  async exportWorkspaceDisk(
    options: {
      readonly workspaceId: string;
      readonly outputPath: string;
      readonly overwrite?: boolean | undefined;
    } & Pick<WaitOptions, "waitMs">,
    call: CallOptions = {},
  ): Promise<WorkspaceDiskExport | null> {
    const { workspaceId, outputPath, overwrite = false } = options;
    const waitMs = Math.min(options.waitMs ?? LIMITS.longestWaitMs, LIMITS.longestWaitMs);
    const request = { workspace: workspaceId, outputPath: requireAbsolute(outputPath), overwrite, waitMs };
    return await this.client.call(
      "workspaceDisk",
      "exporting the disk",
      call,
      async (workspaceDisk, { signal }) => {
        const { result } = await workspaceDisk.exportDisk(request, { signal });
        if (result === undefined) return null;
        return {
          outputPath: result.outputPath,
          diskFormat: "ext4",
          bytesWritten: Number(result.bytesWritten),
        };
      },
    );
  }
}

function toSnapshot(wire: WireSnapshot): WorkspaceSnapshot {
  const { name, createdAtMs, bytes, deletable, memory, secretsInMemory } = wire;
  return {
    ...{ snapshotName: name, createdAt: new Date(Number(createdAtMs)).toISOString() },
    ...{ bytes: Number(bytes), deletable, memory, secretsInMemory },
  };
}
