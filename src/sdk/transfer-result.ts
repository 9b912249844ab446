import type {
  ExportResult as WireExport,
  PushResult as WirePush,
} from "../protocol/gen/pyro/daemon/v1/workspace_pb.js";

/** What a push brought into a workspace. */
export interface WorkspaceSync {
  readonly mode: string;
  readonly destination: string;
  readonly entryCount: number;
  readonly bytesWritten: number;
  readonly warnings: readonly string[];
}

/** A path that the host would run by itself, or obey, and why. */
export interface HostExecutable {
  readonly path: string;
  readonly why: string;
}

/** What an export brought to the host. */
export interface WorkspaceExport {
  readonly workspacePath: string;
  readonly outputPath: string;
  readonly artifactType: ArtifactType;
  readonly entryCount: number;
  readonly bytesWritten: number;
  readonly hostExecutablePaths: readonly HostExecutable[];
  /** What of it holds a secret of the workspace; its bytes are as they were. */
  readonly secretPaths: readonly string[];
  readonly warnings: readonly string[];
}

export type ArtifactType = "file" | "directory" | "symlink" | "other";

export function toSync({ mode, destination, entryCount, bytesWritten, warnings }: WirePush): WorkspaceSync {
  return {
    ...{ mode, destination, warnings: [...warnings] },
    entryCount: Number(entryCount),
    bytesWritten: Number(bytesWritten),
  };
}

export function toExport(result: WireExport): WorkspaceExport {
  return {
    workspacePath: result.workspacePath,
    outputPath: result.outputPath,
    artifactType: result.artifactType as ArtifactType,
    entryCount: Number(result.entryCount),
    bytesWritten: Number(result.bytesWritten),
    hostExecutablePaths: result.hostExecutablePaths.map(({ path, why }) => ({ path, why })),
    secretPaths: [...result.secretPaths],
    warnings: [...result.warnings],
  };
}
