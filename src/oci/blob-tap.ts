/**
 * Looks on as a blob comes, from its first byte on; those that are here already come first. What it makes of them is worth
 * nothing before the blob is proven. A blob that is here as a whole does not come at all.
 */
export interface BlobTap {
  /** The next bytes, which stay as they are; resolves when there is room for more. Never rejects. */
  take(chunk: Uint8Array): Promise<void>;
  /** All that came was of no use: the blob begins anew. */
  restart(): Promise<void>;
}
