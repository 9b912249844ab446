import { LIMITS, PyroError } from "../protocol/index.js";
import type {
  ListFilesResponse,
  ReadFileResponse,
} from "../protocol/gen/pyro/daemon/v1/workspace_file_pb.js";
import type { CallOptions } from "./call.js";
import { resultOf } from "./result-stream.js";
import { toExport, type ArtifactType, type WorkspaceExport } from "./transfer-result.js";
import { requireAbsolute } from "./workspace-source.js";
import { WorkspaceCalls, type WaitOptions } from "./workspace-calls.js";
import {
  toDiffEntry,
  toDiffSummary,
  toPush,
  toSummary,
  type WorkspaceDiff,
  type WorkspaceDiffEntry,
  type WorkspacePush,
  type WorkspaceSummaryRecord,
} from "./workspace-transfer.js";

/** One thing in a workspace. */
export interface WorkspaceFileEntry {
  /** Invalid UTF-8 is replaced. */
  readonly path: string;
  readonly artifactType: ArtifactType;
  readonly sizeBytes: number;
  readonly linkTarget: string | null;
}

export interface WorkspaceFileList {
  readonly path: string;
  readonly entries: readonly WorkspaceFileEntry[];
  readonly truncated: boolean;
}

/** A window of a file. */
export interface WorkspaceFileContent {
  readonly data: Uint8Array;
  /** Of the whole file. */
  readonly sizeBytes: number;
  readonly truncated: boolean;
}

/** The most of a file that one read gives. */
const READ_BYTES_MAX = 64 * 1024 * 1024;

/** The calls about the files of workspaces. Guest paths are absolute, or below /workspace. */
export abstract class WorkspaceFileCalls extends WorkspaceCalls {
  /** What is in a directory, or the one thing at a path. */
  async listWorkspaceFiles(
    options: { readonly workspaceId: string; readonly path?: string; readonly recursive?: boolean },
    call: CallOptions = {},
  ): Promise<WorkspaceFileList> {
    const { workspaceId, path = "", recursive = false } = options;
    const request = { workspace: workspaceId, path, recursive };
    return await this.client.call("workspace", "listing files", call, async (workspace, { signal }) =>
      toFileList(await workspace.listFiles(request, { signal })),
    );
  }

  /** A window of a regular file; default from its beginning, 65,536 bytes. */
  async readWorkspaceFile(
    options: {
      readonly workspaceId: string;
      readonly path: string;
      readonly offset?: number;
      readonly maxBytes?: number;
    },
    call: CallOptions = {},
  ): Promise<WorkspaceFileContent> {
    const request = toReadRequest(options);
    return await this.client.call("workspace", "reading the file", call, async (workspace, { signal }) =>
      collectFile(workspace.readFile(request, { signal }), request),
    );
  }

  /** Writes a file whole: it is replaced in one step. */
  async writeWorkspaceFile(
    options: {
      readonly workspaceId: string;
      readonly path: string;
      readonly content: string | Uint8Array;
    },
    call: CallOptions = {},
  ): Promise<{ readonly path: string; readonly bytesWritten: number }> {
    const { workspaceId, path, content } = options;
    const bytes = typeof content === "string" ? Buffer.from(content) : content;
    return await this.client.call("workspace", "writing the file", call, async (workspace, { signal }) => {
      const written = await workspace.writeFile(pieces(workspaceId, path, bytes), { signal });
      return { path: written.path, bytesWritten: Number(written.bytesWritten) };
    });
  }

  /**
   * Replaces text in a file, in one step. A file whose every line ends in CRLF stays so: texts without a CR are taken with
   * CRLF line ends there, and `crlf` says that they were.
   * @throws {PyroError} GUEST_EDIT_NO_MATCH, GUEST_EDIT_AMBIGUOUS unless `replaceAll`
   */
  async editWorkspaceFile(
    options: {
      readonly workspaceId: string;
      readonly path: string;
      readonly oldText: string;
      readonly newText: string;
      readonly replaceAll?: boolean | undefined;
    },
    call: CallOptions = {},
  ): Promise<{
    readonly path: string;
    readonly replacements: number;
    readonly sizeBytes: number;
    readonly crlf: boolean;
  }> {
    const { workspaceId, path, oldText, newText, replaceAll = false } = options;
    const request = { workspace: workspaceId, path, oldText, newText, replaceAll };
    return await this.client.call("workspace", "editing the file", call, async (workspace, { signal }) => {
      const { path: edited, replacements, sizeBytes, crlf } = await workspace.editFile(request, { signal });
      return { path: edited, replacements, sizeBytes: Number(sizeBytes), crlf };
    });
  }

  /**
   * Applies a unified diff: all of it or nothing.
   * @throws {PyroError} PATCH_INVALID, PATCH_DOES_NOT_APPLY
   */
  async applyWorkspacePatch(
    options: { readonly workspaceId: string; readonly patch: string | Uint8Array },
    call: CallOptions = {},
  ): Promise<{
    readonly changed: boolean;
    readonly entries: readonly {
      readonly path: string;
      readonly change: string;
      readonly from: string | null;
    }[];
  }> {
    const { workspaceId, patch } = options;
    const bytes = typeof patch === "string" ? Buffer.from(patch) : patch;
    return await this.client.call("workspace", "applying the patch", call, async (workspace, { signal }) => {
      const applied = await workspace.applyPatch({ workspace: workspaceId, patch: bytes }, { signal });
      const entries = applied.entries.map(({ path, change, from }) => ({ path, change, from: from || null }));
      return { changed: applied.changed, entries };
    });
  }

  /** What differs from the baseline, at or below a path; of the patch a window, default 1 MiB from its beginning. */
  async diffWorkspace(
    options: {
      readonly workspaceId: string;
      readonly path?: string | undefined;
      readonly offset?: number | undefined;
      readonly maxBytes?: number | undefined;
    },
    call: CallOptions = {},
  ): Promise<WorkspaceDiff> {
    const { workspaceId, path = "", offset = 0, maxBytes = LIMITS.collectedOutputBytes } = options;
    const request = { workspace: workspaceId, path };
    return await this.client.call(
      "workspace",
      "comparing the workspace",
      call,
      async (workspace, { signal }) => {
        const entries: WorkspaceDiffEntry[] = [];
        const kept: Uint8Array[] = [];
        let at = 0;
        const summary = await resultOf("the diff", workspace.diff(request, { signal }), ({ event }) => {
          if (event.case === "entry") entries.push(toDiffEntry(event.value));
          else if (event.case === "patch") {
            const from = Math.max(0, offset - at);
            const to = Math.max(0, offset + maxBytes - at);
            if (from < event.value.length && to > 0) kept.push(event.value.subarray(from, to));
            at += event.value.length;
          }
          return event.case === "summary" ? event.value : undefined;
        });
        const patch = Buffer.concat(kept);
        return {
          workspaceId: summary.workspaceId,
          changed: entries.length > 0,
          summary: toDiffSummary(summary),
          ...{ entries, patch, patchBytes: at, offset },
          truncated: offset + patch.length < at,
        };
      },
    );
  }

  /** Imports a directory, file or archive of the host into a started workspace: overwrites, never deletes. */
  async pushWorkspaceSync(
    options: {
      readonly workspaceId: string;
      readonly sourcePath: string;
      readonly dest?: string;
    } & WaitOptions,
    call: CallOptions = {},
  ): Promise<WorkspacePush> {
    const { workspaceId, sourcePath, dest = "" } = options;
    const request = { workspace: workspaceId, sourcePath: requireAbsolute(sourcePath), dest };
    const waitMs = Math.min(options.waitMs ?? LIMITS.longestWaitMs, LIMITS.longestWaitMs);
    return await this.client.call("workspace", "pushing files", call, async (workspace, { signal }) => {
      const pushed = await workspace.push({ ...request, waitMs }, { signal });
      return toPush(pushed.workspace?.workspaceId ?? workspaceId, pushed.result);
    });
  }

  /**
   * Brings a file, directory or link of the workspace to the host, whole or not at all; null while it goes on.
   * @throws {PyroError} EXPORT_EXISTS unless `overwrite`, EXPORT_FAILED
   */
  async exportWorkspace(
    options: {
      readonly workspaceId: string;
      readonly path: string;
      readonly outputPath: string;
      readonly overwrite?: boolean | undefined;
    } & WaitOptions,
    call: CallOptions = {},
  ): Promise<WorkspaceExport | null> {
    const { workspaceId, path, outputPath, overwrite = false } = options;
    const request = { workspace: workspaceId, path, outputPath: requireAbsolute(outputPath), overwrite };
    const waitMs = Math.min(options.waitMs ?? LIMITS.longestWaitMs, LIMITS.longestWaitMs);
    return await this.client.call("workspace", "exporting", call, async (workspace, { signal }) => {
      const { result } = await workspace.export({ ...request, waitMs }, { signal });
      return result === undefined ? null : toExport(result);
    });
  }

  /** Everything since the last reset in one view: commands, edits, differences, exports. */
  async summarizeWorkspace(workspaceId: string, call: CallOptions = {}): Promise<WorkspaceSummaryRecord> {
    return await this.client.call(
      "workspace",
      "summarizing the workspace",
      call,
      async (workspace, { signal }) => {
        const summary = toSummary(await workspace.summarize({ workspace: workspaceId }, { signal }));
        if (summary === undefined) throw new PyroError("INTERNAL", "a summary without its workspace");
        return summary;
      },
    );
  }
}

async function* pieces(workspace: string, path: string, content: Uint8Array) {
  yield { workspace, path, data: content.subarray(0, LIMITS.bulkChunkBytes) };
  for (let at = LIMITS.bulkChunkBytes; at < content.length; at += LIMITS.bulkChunkBytes) {
    yield await Promise.resolve({ data: content.subarray(at, at + LIMITS.bulkChunkBytes) });
  }
}

/** A list as the daemon sent it. */
export function toFileList(list: ListFilesResponse): WorkspaceFileList {
  const entries = list.entries.map((entry) => ({
    path: Buffer.from(entry.path).toString(),
    artifactType: entry.artifactType as ArtifactType,
    sizeBytes: Number(entry.sizeBytes),
    linkTarget: entry.artifactType === "symlink" ? Buffer.from(entry.linkTarget).toString() : null,
  }));
  return { path: list.path, entries, truncated: list.truncated };
}

interface ReadRequest {
  readonly workspace: string;
  readonly path: string;
  readonly offset: bigint;
  readonly maxBytes: bigint;
}

/** @throws {PyroError} INVALID_ARGUMENT */
export function toReadRequest(options: {
  readonly workspaceId: string;
  readonly path: string;
  readonly offset?: number;
  readonly maxBytes?: number;
}): ReadRequest {
  const { workspaceId, path, offset = 0, maxBytes = 65_536 } = options;
  if (!Number.isInteger(maxBytes) || maxBytes < 1 || maxBytes > READ_BYTES_MAX) {
    throw new PyroError("INVALID_ARGUMENT", `maxBytes is ${maxBytes}`, {
      hint: `give a whole number from 1 to ${READ_BYTES_MAX}; export brings larger files to the host`,
    });
  }
  return { workspace: workspaceId, path, offset: BigInt(offset), maxBytes: BigInt(maxBytes) };
}

/** A window of a file as the daemon sends it. */
export async function collectFile(
  messages: AsyncIterable<ReadFileResponse>,
  { offset }: ReadRequest,
): Promise<WorkspaceFileContent> {
  const parts: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const message of messages) {
    sizeBytes += Number(message.sizeBytes);
    parts.push(message.data);
  }
  const data = Buffer.concat(parts);
  return { data, sizeBytes, truncated: Number(offset) + data.length < sizeBytes };
}
