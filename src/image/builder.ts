/** A tar that is attached to the builder VM as a read-only raw disk. */
interface BuildLayer {
  readonly path: string;
  /** Length of the tar; a multiple of 512, so that the file is a whole disk. */
  readonly sizeBytes: number;
}

/** A command run as root in the unpacked tree. */
export interface BuildStep {
  readonly argv: readonly string[];
  /** "NAME=value" entries. */
  readonly env: readonly string[];
}

export interface ImageBuild {
  readonly layers: readonly BuildLayer[];
  /** A raw ext4 image, attached with discard so that freed blocks become holes again; owned by this process's user. */
  readonly target: string;
  /** Run in order after the last layer; the first that fails ends the build. */
  readonly steps: readonly BuildStep[];
  readonly onProgress?: (progress: BuildProgress) => void;
  /** What the steps print. */
  readonly onOutput?: (chunk: Uint8Array) => void;
  readonly signal?: AbortSignal;
}

interface BuildProgress {
  /** "unpack" or a step's argv[0]. */
  readonly phase: string;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

interface BuildResult {
  readonly entryCount: number;
  readonly usedBytes: number;
}

/**
 * Unpacks layers onto the target in a builder VM; compose.ts fills this in. When it resolves, everything is flushed to
 * the target and no machine is left; when it rejects or is aborted, no machine is left either and the target is thrown
 * away. Rejects with ENVIRONMENT_BUILD_FAILED, DISK_FULL or what the machine failed with.
 */
export interface ImageBuilder {
  build(build: ImageBuild): Promise<BuildResult>;
}
