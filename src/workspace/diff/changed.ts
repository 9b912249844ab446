/** What stood, or stands, at a path. */
export interface EntryState {
  readonly type: "file" | "directory" | "symlink" | "other";
  readonly sizeBytes: number;
  /** Permission bits. */
  readonly mode: number;
  /** Of symbolic links. */
  readonly linkTarget?: Uint8Array;
}

/** One difference from the baseline, as the guest reports it (FileService.Changes). */
export interface ChangedPath {
  /** Relative to the workspace, as bytes. */
  readonly path: Uint8Array;
  /** Absent: added. */
  readonly before?: EntryState;
  /** Absent: deleted. */
  readonly after?: EntryState;
  /** SHA-256 of regular files, where the guest made it; equal ones of a deleted and an added file are a rename. */
  readonly beforeSha256?: Uint8Array;
  readonly afterSha256?: Uint8Array;
  /** Type and content are equal; nothing is read. */
  readonly modeOnly: boolean;
}

/** Contents of both sides; the guest's file service fills it in. */
export interface DiffContents {
  /** The beginning of a regular file: at most `maxBytes`. */
  read(side: "before" | "after", path: Uint8Array, maxBytes: number): Promise<Uint8Array>;
}
