import type { EnvironmentConfig } from "./environment-config.js";
import type { Report } from "./operation.js";
import type { ContentPart } from "./secrets/index.js";
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

/** An environment that was made of a workspace's disk. */
export interface SavedEnvironment {
  readonly name: string;
  /** "sha256:…" of its image. */
  readonly digest: string;
  /** Bytes that its image takes on the disk of the host. */
  readonly sizeBytes: number;
  readonly entryCount: number;
}

/** What is made of a disk, and who is told. */
export interface MakeEnvironment {
  readonly savedFrom: { readonly workspaceId: string; readonly environment: string };
  /** What is to hold for commands in it; null: nothing. */
  readonly config: EnvironmentConfig | null;
  /** Told of all that comes into it, file by file. */
  readonly onContent?: (part: ContentPart) => void;
  /** Called when all was copied; what it throws ends the making. */
  readonly beforeSealing: () => void;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/** The name of an environment that is being made, which no other makes meanwhile. Disposing of it removes what is not whole. */
export interface EnvironmentPlace extends AsyncDisposable {
  /**
   * Copies what a disk holds, and makes it an environment. No machine may write to the layers.
   * @throws {PyroError} DISK_FULL, ENVIRONMENT_BUILD_FAILED, HOST_TOOL_NOT_FOUND, what the copying machine fails with
   */
  make(layers: WorkspaceLayers, request: MakeEnvironment): Promise<SavedEnvironment>;
}

/** What can be done with disks that no machine runs on. The daemon composes it. */
export interface WorkspaceDisks {
  open(layers: WorkspaceLayers, signal: AbortSignal): Promise<DiskReader>;
  /**
   * Makes one sparse raw file of all layers where nothing is; nothing is left when it fails.
   * @throws {PyroError} DISK_FULL, EXPORT_FAILED
   */
  copy(layers: WorkspaceLayers, path: string, signal: AbortSignal): Promise<void>;
  /**
   * Takes a name for an environment of this host's own.
   * @throws {PyroError} INVALID_ARGUMENT, ENVIRONMENT_EXISTS unless `overwrite`, ENVIRONMENT_BUSY
   */
  claim(name: string, options: { readonly overwrite: boolean }): Promise<EnvironmentPlace>;
  /** What is wrong with the tables of a layer's file; undefined where nothing is. Lost space is not wrong. */
  check(path: string, signal: AbortSignal): Promise<string | undefined>;
}
