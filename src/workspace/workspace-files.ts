/** One thing in a guest's file system. */
export interface FileEntry {
  /** Bytes: names need not be UTF-8. */
  readonly path: Uint8Array;
  readonly type: "file" | "directory" | "symlink" | "other";
  readonly sizeBytes: number;
  /** Permission bits. */
  readonly mode: number;
  readonly linkTarget?: Uint8Array | undefined;
}

/** A file on its way from the guest; `data` is to be read once. */
export interface FileContent {
  readonly sizeBytes: number;
  readonly data: AsyncIterable<Uint8Array>;
}

/** A difference to the baseline, as the guest says; one of `before` and `after` may be absent. */
export interface FileChange {
  /** Relative to the directory that was compared. */
  readonly path: Uint8Array;
  readonly before?: FileEntry | undefined;
  readonly after?: FileEntry | undefined;
  readonly beforeSha256?: Uint8Array | undefined;
  readonly afterSha256?: Uint8Array | undefined;
  readonly modeOnly: boolean;
}

/** One step of a set of changes that are made together. */
export type FileStep =
  | {
      readonly kind: "write";
      readonly path: Uint8Array;
      readonly content: Uint8Array;
      readonly mode?: number | undefined;
      /** What it must hold before; undefined: it must not exist. */
      readonly expectSha256?: Uint8Array | undefined;
    }
  | {
      readonly kind: "delete";
      readonly path: Uint8Array;
      readonly expectSha256?: Uint8Array | undefined;
    }
  | { readonly kind: "move"; readonly path: Uint8Array; readonly to: Uint8Array }
  | { readonly kind: "mode"; readonly path: Uint8Array; readonly mode: number };

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** The files below /workspace of a running machine. Paths are absolute; none leads out of /workspace. */
export interface WorkspaceFiles {
  list(
    path: Uint8Array,
    options: CallOptions & { readonly recursive: boolean; readonly maxEntries: number },
  ): Promise<{ readonly entries: readonly FileEntry[]; readonly truncated: boolean }>;
  read(
    path: Uint8Array,
    options: CallOptions & {
      readonly offset?: number;
      readonly maxBytes?: number;
      readonly tree?: "active" | "baseline";
    },
  ): Promise<FileContent>;
  write(path: Uint8Array, content: AsyncIterable<Uint8Array>, options?: CallOptions): Promise<{ bytesWritten: number }>;
  edit(
    path: Uint8Array,
    change: { readonly oldText: Uint8Array; readonly newText: Uint8Array; readonly replaceAll: boolean },
    options?: CallOptions,
  ): Promise<{ readonly replacements: number; readonly sizeBytes: number }>;
  /** Unpacks a tar stream under a directory, which is made where it is missing. */
  extract(
    directory: Uint8Array,
    tar: AsyncIterable<Uint8Array>,
    options?: CallOptions,
  ): Promise<{ readonly entryCount: number; readonly bytesWritten: number }>;
  /** One thing as a tar stream: the entry "." is the thing itself. */
  pack(path: Uint8Array, options?: CallOptions): AsyncIterable<Uint8Array>;
  /** All of the steps, or none. */
  commit(steps: readonly FileStep[], options?: CallOptions): Promise<void>;
  /** What differs from the baseline at or below a path relative to /workspace; empty: everything. */
  changes(below: Uint8Array, options?: CallOptions): AsyncIterable<FileChange>;
}
