import { LIMITS } from "../protocol/index.js";
import { violation } from "./wire-failure.js";

/** Each message of a stream: a byte of flags, its length in 4 bytes, big-endian, and its bytes. */
const HEAD_BYTES = 5;
const COMPRESSED = 0b01;
const END = 0b10;

export interface Envelope {
  /** The last of a stream: JSON with the error, if there was one. */
  readonly isEnd: boolean;
  readonly data: Buffer;
}

/** A message as a stream carries it. */
export function envelope(message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + message.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, HEAD_BYTES);
  return bytes;
}

/**
 * The messages of a stream, however its bytes are cut.
 * @throws {WireFailure} for one beyond the wire's bound, and for a compressed one
 */
export async function* envelopes(chunks: AsyncIterable<Buffer>): AsyncGenerator<Envelope> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let neededBytes = HEAD_BYTES;
  for await (const chunk of chunks) {
    held.push(chunk);
    heldBytes += chunk.length;
    if (heldBytes < neededBytes) continue;
    // Joined once for each message, not for each chunk.
    let rest = held.length === 1 ? chunk : Buffer.concat(held);
    for (;;) {
      neededBytes = HEAD_BYTES;
      if (rest.length < HEAD_BYTES) break;
      const [flags = 0] = rest;
      const length = rest.readUInt32BE(1);
      if (length > LIMITS.wireMessageBytes) {
        throw violation(`a message of ${length} bytes`);
      }
      if ((flags & COMPRESSED) !== 0) throw violation("a compressed message, which was not asked for");
      neededBytes = HEAD_BYTES + length;
      if (rest.length < neededBytes) break;
      yield { isEnd: (flags & END) !== 0, data: rest.subarray(HEAD_BYTES, neededBytes) };
      rest = rest.subarray(neededBytes);
    }
    held = [rest];
    heldBytes = rest.length;
  }
  if (heldBytes > 0) throw violation("half a message");
}
