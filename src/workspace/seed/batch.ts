/** Small buffers go out together. */
const BATCH_BYTES = 128 * 1024;

/** Joins small buffers into chunks; large ones pass through as they are. */
export class Batch {
  #buffers: Buffer[] = [];
  #bytes = 0;

  *add(buffer: Buffer): Generator<Buffer, void, void> {
    if (buffer.length >= BATCH_BYTES) yield* this.flush();
    this.#buffers.push(buffer);
    this.#bytes += buffer.length;
    if (this.#bytes >= BATCH_BYTES) yield* this.flush();
  }

  *flush(): Generator<Buffer, void, void> {
    const buffers = this.#buffers;
    const [first] = buffers;
    this.#buffers = [];
    this.#bytes = 0;
    if (first !== undefined) yield buffers.length === 1 ? first : Buffer.concat(buffers);
  }
}
