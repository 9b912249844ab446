/** A layer that is attached to the builder VM as a read-only raw disk. */
export interface BuildLayer {
  readonly path: string;
  /** Length of the layer. A file whose size is no multiple of 512 reads as zeros behind its end; they are not the layer's. */
  readonly sizeBytes: number;
  /** Where it begins in the file, which may hold others too; default: 0. */
  readonly offsetBytes?: number;
  /** Of an image's layer; without it, the layer is a tar that this host made. */
  readonly blob?: LayerBlob;
}

/** What an image says of a layer; the builder finds out whether it is true before it declares the result good. */
interface LayerBlob {
  /** As the manifest has it: tar, tar+gzip or tar+zstd. */
  readonly mediaType: string;
  /** Of the layer as it is stored, "sha256:…". Absent, like the next, where this host has proven a plain tar. */
  readonly digest?: string;
  /** Of its uncompressed tar, as the configuration has it. */
  readonly diffId?: string;
}

/** A command run as root in the unpacked tree. */
export interface BuildStep {
  readonly argv: readonly string[];
  /** "NAME=value" entries. */
  readonly env: readonly string[];
}

export interface ImageBuild {
  /** In which the layers lie. They are attached as the machine starts; what is in them may come later. */
  readonly files: readonly string[];
  /** Gives the layers once they are there whole, while the machine starts; where that fails, so does the build. */
  readonly layers: () => Promise<readonly BuildLayer[]>;
  /**
   * What `makeDisk` made, attached with discard so that freed blocks become holes again; owned by this process's
   * user. Nobody has flushed it.
   */
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

/** Makes images in builder VMs; compose.ts fills this in. */
export interface ImageBuilder {
  /** Makes the disk of an empty file system that layers are unpacked onto; what stands there is replaced. */
  makeDisk(target: string): Promise<void>;
  /**
   * Unpacks layers onto the target. When it resolves, everything is flushed to the target and no machine is left; when it
   * rejects or is aborted, no machine is left either and the target is thrown away. Rejects with ENVIRONMENT_BUILD_FAILED,
   * DISK_FULL or what the machine failed with; for layers of images also with IMAGE_LAYER_TYPE_MISMATCH,
   * IMAGE_LAYER_INVALID, IMAGE_LIMIT_EXCEEDED, BLOB_DIGEST_MISMATCH or IMAGE_DIFF_ID_MISMATCH.
   */
  build(build: ImageBuild): Promise<BuildResult>;
}
