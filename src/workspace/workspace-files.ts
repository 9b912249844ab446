import type { ChangedPath } from "./diff/index.js";
import type { TreeChange } from "./patch/index.js";

/** One thing in a guest's file system, as the guest says. */
export interface FileEntry {
  /** Bytes: names need not be UTF-8. */
  readonly path: Uint8Array;
  readonly type: "file" | "directory" | "symlink" | "other";
  readonly sizeBytes: number;
  /** Permission bits. */
  readonly mode: number;
  /** Of symbolic links; empty for all else. */
  readonly linkTarget: Uint8Array;
}

/** A file on its way from the guest; `data` is to be read once, and left early to end it. */
export interface FileContent {
  readonly sizeBytes: number;
  readonly data: AsyncIterable<Uint8Array>;
}

/** What an edit did. */
export interface Edited {
  readonly replacements: number;
  readonly sizeBytes: number;
  /** The texts were taken with CRLF line ends, as every line of the file has them. */
  readonly crlf: boolean;
}

interface FileCall {
  readonly signal?: AbortSignal | undefined;
}

/** The files below /workspace of a running machine. Paths are absolute; none leads out of /workspace. */
export interface WorkspaceFiles {
  list(
    path: Uint8Array,
    options: FileCall & { readonly recursive: boolean; readonly maxEntries: number },
  ): Promise<{ readonly entries: readonly FileEntry[]; readonly truncated: boolean }>;
  read(
    path: Uint8Array,
    options: FileCall & {
      readonly offset?: number;
      /** 0: to the end. */
      readonly maxBytes?: number;
      readonly tree?: "active" | "baseline";
    },
  ): Promise<FileContent>;
  write(
    path: Uint8Array,
    content: AsyncIterable<Uint8Array>,
    options?: FileCall,
  ): Promise<{ readonly bytesWritten: number }>;
  edit(
    path: Uint8Array,
    change: { readonly oldText: string; readonly newText: string; readonly replaceAll: boolean },
    options?: FileCall,
  ): Promise<Edited>;
  /** Unpacks a tar stream under a directory, which is made where it is missing. */
  extract(
    directory: Uint8Array,
    tar: AsyncIterable<Uint8Array>,
    options?: FileCall,
  ): Promise<{ readonly entryCount: number; readonly bytesWritten: number }>;
  /** One thing as a tar: the entry "." is the thing itself. `leftOut` is known at its end. */
  pack(
    path: Uint8Array,
    options?: FileCall,
  ): Promise<{ readonly data: AsyncIterable<Uint8Array>; readonly leftOut: number }>;
  /** All of the steps, or none. */
  commit(steps: readonly TreeChange[], options?: FileCall): Promise<void>;
  /** What differs from the baseline at or below a path relative to /workspace; empty: everything. */
  changes(
    below: Uint8Array,
    options?: FileCall,
  ): Promise<{ readonly changes: readonly ChangedPath[]; readonly truncated: boolean }>;
}
