import { crc32 } from "./crc32.js";

/** Header of a frame, in bytes (proto/LINK.md). */
export const HEADER_BYTES = 20;
/** Longest payload of a frame. */
export const MAX_PAYLOAD_BYTES = 64 * 1024;
/** Zeros that complete any half frame of an older connection. */
export const FILLER_BYTES = HEADER_BYTES + MAX_PAYLOAD_BYTES;

/** The streams of the link; which is sent first says LINK.md, rule 6. */
export const CHANNEL = { control: 0, event: 1, bulk: 2, probe: 3, network: 4 } as const;
export const CHANNEL_COUNT = 5;

const MAGIC = 0x5059f17e;
const VERSION = 1;
const HELLO = 1;
const DATA = 2;

/** One parsed header; `hello` has neither channel nor payload. */
export type Header =
  | { readonly kind: "hello"; readonly epoch: number; readonly length: 0 }
  | { readonly kind: "data"; readonly channel: number; readonly epoch: number; readonly length: number };

function put(into: Buffer, type: number, channel: number, epoch: number, length: number): Buffer {
  into.writeUInt32BE(MAGIC, 0);
  into.writeUInt32BE(((VERSION << 24) | (type << 16) | (channel << 8)) >>> 0, 4);
  into.writeUInt32BE(epoch, 8);
  into.writeUInt32BE(length, 12);
  into.writeUInt32BE(crc32(into, 0, 16), 16);
  return into;
}

export function helloFrame(epoch: number): Buffer {
  return put(Buffer.allocUnsafe(HEADER_BYTES), HELLO, 0, epoch, 0);
}

export function dataHeader(channel: number, epoch: number, length: number): Buffer {
  return put(Buffer.allocUnsafe(HEADER_BYTES), DATA, channel, epoch, length);
}

/** Writes the header of a payload of that length into the first HEADER_BYTES of a buffer. */
export function putDataHeader(into: Buffer, channel: number, epoch: number, length: number): void {
  put(into, DATA, channel, epoch, length);
}

/** The header at `at`, or undefined for anything that is not certainly one. */
function parseHeader(bytes: Buffer, at: number): Header | undefined {
  if (bytes.readUInt32BE(at) !== MAGIC || bytes[at + 4] !== VERSION || bytes[at + 7] !== 0) return undefined;
  if (bytes.readUInt32BE(at + 16) !== crc32(bytes, at, at + 16)) return undefined;
  const type = bytes[at + 5];
  const channel = bytes[at + 6] ?? CHANNEL_COUNT;
  const epoch = bytes.readUInt32BE(at + 8);
  const length = bytes.readUInt32BE(at + 12);
  if (epoch === 0) return undefined;
  if (type === HELLO && channel === 0 && length === 0) return { kind: "hello", epoch, length };
  if (type !== DATA || channel >= CHANNEL_COUNT || length > MAX_PAYLOAD_BYTES) return undefined;
  return { kind: "data", channel, epoch, length };
}

/**
 * Looks for the first header from `at` on. `skipped` counts the bytes before it; where there is none, the bytes that
 * cannot begin one: fewer than a header's are left, to be looked at again when more have come.
 */
export function scan(bytes: Buffer, at: number): { readonly skipped: number; readonly header?: Header } {
  for (let begin = at; ; begin += 1) {
    begin = bytes.indexOf(MAGIC >>> 24, begin);
    if (begin < 0) return { skipped: bytes.length - at };
    if (bytes.length - begin < HEADER_BYTES) return { skipped: begin - at };
    const header = parseHeader(bytes, begin);
    if (header !== undefined) return { skipped: begin - at, header };
  }
}
