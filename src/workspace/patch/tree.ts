import type { ByteString } from "../../kit/index.js";

/**
 * What lies at a path, seen without following a link at its end.
 * Paths are bytes relative to the workspace, without a leading slash.
 */
export interface TreeEntry {
  readonly type: "file" | "directory" | "symlink" | "other";
  readonly sizeBytes: number;
  /** Permission bits. */
  readonly mode: number;
}

/** The workspace as a patch needs to see it; the guest's file service fills it in. */
export interface WorkspaceTree {
  /** Nothing there, or a parent that is no directory: undefined. */
  stat(path: Uint8Array): Promise<TreeEntry | undefined>;
  /** The whole regular file; fails when it is longer than `maxBytes`. */
  read(path: Uint8Array, maxBytes: number): Promise<Uint8Array>;
  /** What of a line may be shown in an error; left out, all of it. */
  show?(line: ByteString): ByteString;
}

/** One step of an all-or-nothing commit (FileService.Commit), in the order in which the steps are to be made. */
export type TreeChange =
  | {
      readonly kind: "write";
      readonly path: Uint8Array;
      readonly content: Uint8Array;
      /** Permission bits; absent: what the file has. */
      readonly mode?: number;
      /** SHA-256 of what is replaced (after a move: of what was moved there); absent: nothing may be there. */
      readonly expectSha256?: Uint8Array;
    }
  | { readonly kind: "delete"; readonly path: Uint8Array; readonly expectSha256: Uint8Array }
  | { readonly kind: "move"; readonly path: Uint8Array; readonly to: Uint8Array }
  | { readonly kind: "mode"; readonly path: Uint8Array; readonly mode: number };
