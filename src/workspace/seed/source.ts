/** What a workspace begins with, as the caller says it. */
export type SeedSource =
  | { readonly kind: "empty" }
  /** A directory, all of it, or a tar archive (plain, gzip, zstd), told by its content. */
  | { readonly kind: "path"; readonly path: string }
  /** A Git checkout, or a directory inside one: its tracked and unignored files, and what `include` names. */
  | {
      readonly kind: "project";
      readonly path: string;
      /** Paths inside the checkout that are taken whole although they are ignored, such as "node_modules". */
      readonly include?: readonly string[];
    }
  /** A repository that is fetched first; `ref` is a branch, a tag or a full commit id. */
  | { readonly kind: "repository"; readonly url: string; readonly ref?: string };

/** Where a seed came from: `workspace_seed` of a workspace's record. */
export interface SeedOrigin {
  readonly mode: "empty" | "directory" | "tar_archive";
  /** The path on the host, absolute; null where there is none. */
  readonly seedPath: string | null;
  readonly originKind: SeedSource["kind"];
  /** A project's commit id; a repository's URL without credentials, then "#" and the commit id. */
  readonly originRef: string | null;
}

/** How much of a seed was sent. */
export interface SeedProgress {
  /** Entries of the tar: files, directories, links. */
  readonly entryCount: number;
  /** Bytes of file contents. */
  readonly bytes: number;
}

export interface SeedOptions {
  readonly signal: AbortSignal;
  /** A private directory for what has to be made first; `sweepSeeds` clears it after a crash. */
  readonly scratch: string;
  /** Called at most once for each chunk of the stream. */
  readonly onProgress?: (progress: SeedProgress) => void;
  /** How long fetching a repository may take. Default: LIMITS.repositoryTimeoutMs. */
  readonly repositoryTimeoutMs?: number;
}

/**
 * A source that is open and known to be good as far as one can tell without reading it. Disposing of it removes what
 * was made for it; a stream that was begun has to be ended (or returned from) before.
 */
export interface Seed extends AsyncDisposable {
  readonly origin: SeedOrigin;
  /**
   * One uncompressed tar, in chunks of about 64 to 256 KiB; the next is read when it is asked for. Once only.
   * @throws {PyroError} SEED_CHANGED, SEED_UNREADABLE, SEED_ARCHIVE_INVALID, SEED_TOO_LARGE
   */
  stream(): AsyncGenerator<Uint8Array, void, void>;
  /** Complete when the stream has ended. */
  readonly entryCount: number;
  /** Bytes of file contents; complete when the stream has ended. */
  readonly bytes: number;
  /** What was left out or cut, one sentence each; complete when the stream has ended. */
  readonly warnings: readonly string[];
}
