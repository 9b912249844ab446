/** What is to be packed. */
export interface PackRequest {
  /** A qcow2 image with an ext4 file system; it is only read. */
  readonly image: string;
  /** Names at its top that are left out where they are empty directories of root's. */
  readonly leaveOutEmpty: readonly string[];
  readonly signal: AbortSignal;
}

/** The tree of an image as one tar, on its way out of a machine: hostile bytes, which nobody here takes apart. */
export interface PackedTree {
  /** To be read once, to its end. */
  readonly tar: AsyncIterable<Uint8Array>;
  /** Bytes in use on the disk: about what the tar will have. */
  readonly usedBytes: number;
}

export interface PackResult {
  readonly entryCount: number;
  /** Sockets, which no tar carries. */
  readonly leftOut: number;
}

/**
 * Packs an image's tree in a builder VM; compose.ts fills this in. `take` is given the tar; when it and the machine are
 * done, pack resolves, and no machine is left then, nor when it rejects. Rejects with ENVIRONMENT_NOT_PORTABLE,
 * ENVIRONMENT_DAMAGED, what the machine failed with, or what `take` did.
 */
export interface ImagePacker {
  pack(request: PackRequest, take: (tree: PackedTree) => Promise<void>): Promise<PackResult>;
}
