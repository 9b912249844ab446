import { LIMITS } from "../protocol/index.js";
import type { HostExecutablePath } from "./diff/index.js";
import type { FileEntry } from "./workspace-files.js";

/** What a push brought. */
export interface Pushed {
  readonly mode: string;
  readonly destination: string;
  readonly entryCount: number;
  readonly bytesWritten: number;
  readonly warnings: readonly string[];
}

/** What an export brought to the host. */
export interface Exported {
  readonly workspacePath: string;
  readonly outputPath: string;
  readonly artifactType: FileEntry["type"];
  readonly entryCount: number;
  readonly bytesWritten: number;
  readonly hostExecutablePaths: readonly HostExecutablePath[];
  /** What of it holds a secret of the workspace; its bytes are as they were. */
  readonly secretPaths: readonly string[];
  readonly warnings: readonly string[];
}

/** What came of bringing files in or out, for whoever was not there when it ended. */
export type Transferred =
  | { readonly kind: "sync_push"; readonly result: Pushed }
  | { readonly kind: "export"; readonly result: Exported };

/** The result of each kind of work. */
export type TransferResult<Kind extends Transferred["kind"]> = Extract<Transferred, { kind: Kind }>["result"];

/** The same as it is kept until the next operation: each look at the workspace carries it, so it is bounded. */
export function keptOf(transferred: Transferred): Transferred {
  if (transferred.kind === "sync_push") return transferred;
  const { hostExecutablePaths: all, secretPaths: secret, warnings } = transferred.result;
  const most = LIMITS.keptExecutablePaths;
  if (all.length <= most && secret.length <= most) return transferred;
  const more = [
    ...(all.length <= most
      ? []
      : [`${all.length - most} more paths that the host would run or obey are not listed here`]),
    ...(secret.length <= most
      ? []
      : [`${secret.length - most} more paths that hold a secret are not listed here`]),
  ];
  const bounded = { hostExecutablePaths: all.slice(0, most), secretPaths: secret.slice(0, most) };
  return { kind: "export", result: { ...transferred.result, ...bounded, warnings: [...warnings, ...more] } };
}
