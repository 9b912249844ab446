import { stat } from "node:fs/promises";
import { posix } from "node:path";
import { LIMITS } from "../protocol/index.js";
import { absolutePath } from "./command-line.js";
import { maskedRange, withSurroundings } from "./secrets/index.js";
import { placeOnHost } from "./exporting.js";
import type { Operation } from "./operation.js";
import type { FileEntry } from "./workspace-files.js";
import type { Workspace } from "./workspace.js";

/** The image that an export made. */
export interface DiskExport {
  readonly outputPath: string;
  readonly diskFormat: "ext4";
  /** Of the image, holes included. */
  readonly bytesWritten: number;
}

/**
 * What is in a directory of a stopped workspace's disk, or the one thing at a path.
 * @throws {PyroError} WORKSPACE_RUNNING, GUEST_FILE_NOT_FOUND, what a machine throws
 */
export async function listDisk(
  workspace: Workspace,
  { path, recursive, maxEntries }: { path: string; recursive: boolean; maxEntries: number },
): Promise<{ path: string; entries: readonly FileEntry[]; truncated: boolean }> {
  const absolute = posix.normalize(absolutePath(path));
  const { redactor } = workspace.secrets;
  return await workspace.offline("disk_read", async ({ layers, disks, signal }) => {
    await using reader = await disks.open(layers, signal);
    const listing = await reader.list(Buffer.from(absolute), { recursive, maxEntries });
    const entries = listing.entries.map((entry) => ({
      ...{ ...entry, path: redactor.bytes(entry.path), linkTarget: redactor.bytes(entry.linkTarget) },
    }));
    return { path: redactor.text(absolute), ...listing, entries };
  }).result;
}

/**
 * A window of a file on a stopped workspace's disk, at most 64 MiB.
 * @throws {PyroError} as `listDisk`, GUEST_FILE_REFUSED for what is no regular file
 */
export async function readDisk(
  workspace: Workspace,
  { path, offset, maxBytes }: { path: string; offset: number; maxBytes: number },
): Promise<{ sizeBytes: number; data: Uint8Array }> {
  const absolute = posix.normalize(absolutePath(path));
  const { redactor } = workspace.secrets;
  const most = Math.min(maxBytes || LIMITS.diskReadBytes, LIMITS.diskReadBytes);
  return await workspace.offline("disk_read", async ({ layers, disks, signal }) => {
    await using reader = await disks.open(layers, signal);
    const range = { offset, maxBytes: most };
    const around = redactor.isEmpty ? range : withSurroundings(range, redactor);
    const { sizeBytes, data } = await reader.read(Buffer.from(absolute), around);
    const parts: Uint8Array[] = [];
    for await (const part of redactor.isEmpty ? data : maskedRange(data, range, redactor)) parts.push(part);
    return { sizeBytes, data: Buffer.concat(parts) };
  }).result;
}

/**
 * Brings the whole disk of a stopped workspace to the host, as one raw ext4 image. It stands at `outputPath` whole or not
 * at all. The operation rejects with WORKSPACE_RUNNING, EXPORT_EXISTS, EXPORT_FAILED, DISK_FULL.
 */
export function exportDisk(
  workspace: Workspace,
  { outputPath, overwrite }: { outputPath: string; overwrite: boolean },
): Operation<DiskExport> {
  return workspace.offline("disk_export", async ({ layers, disks, signal }) => {
    const bytesWritten = await placeOnHost(workspace, { outputPath, overwrite }, async (temporary) => {
      await disks.copy(layers, temporary, signal);
      return (await stat(temporary)).size;
    });
    await workspace.note({ kind: "export", path: "the whole disk", detail: outputPath });
    return { outputPath, diskFormat: "ext4", bytesWritten };
  });
}
