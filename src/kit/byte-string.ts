/**
 * Bytes as a string of characters 0 to 255: files and paths that are not UTF-8 pass through line and name handling
 * unharmed, compare as quickly as text, and sort in byte order.
 */
export type ByteString = string;

export function byteString(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

export function bytesOf(value: ByteString): Uint8Array {
  return Buffer.from(value, "latin1");
}

/** For people, models and records: invalid UTF-8 becomes U+FFFD. */
export function textOf(value: ByteString): string {
  return Buffer.from(value, "latin1").toString("utf8");
}

/** How far a NUL is looked for; git's own rule (buffer_is_binary). */
export const BINARY_LOOK_BYTES = 8_000;

export function looksBinary(content: ByteString): boolean {
  return content.slice(0, BINARY_LOOK_BYTES).includes("\0");
}
