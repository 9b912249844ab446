import type { FileContent, FileEntry } from "./workspace-files.js";
import type { WorkspaceLayers } from "./workspace-machine.js";

/** A disk as it stands, read by a machine of its own in which nothing of it runs. Disposing of it ends the machine. */
export interface DiskReader extends AsyncDisposable {
  list(
    path: Uint8Array,
    options: { readonly recursive: boolean; readonly maxEntries: number },
  ): Promise<{ readonly entries: readonly FileEntry[]; readonly truncated: boolean }>;
  read(
    path: Uint8Array,
    options: { readonly offset: number; readonly maxBytes: number },
  ): Promise<FileContent>;
}

/** What can be done with disks that no machine runs on. The daemon composes it. */
export interface WorkspaceDisks {
  open(layers: WorkspaceLayers, signal: AbortSignal): Promise<DiskReader>;
  /**
   * Makes one sparse raw file of all layers where nothing is; nothing is left when it fails.
   * @throws {PyroError} DISK_FULL, EXPORT_FAILED
   */
  copy(layers: WorkspaceLayers, path: string, signal: AbortSignal): Promise<void>;
  /** What is wrong with the tables of a layer's file; undefined where nothing is. Lost space is not wrong. */
  check(path: string, signal: AbortSignal): Promise<string | undefined>;
}
