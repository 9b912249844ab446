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
  const { hostExecutablePaths: all, warnings } = transferred.result;
  const left = all.length - LIMITS.keptExecutablePaths;
  if (left <= 0) return transferred;
  const hostExecutablePaths = all.slice(0, LIMITS.keptExecutablePaths);
  const more = `${left} more paths that the host would run or obey are not listed here`;
  return {
    kind: "export",
    result: { ...transferred.result, hostExecutablePaths, warnings: [...warnings, more] },
  };
}
