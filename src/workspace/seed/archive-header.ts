import { TAR_BLOCK, tarChecksum } from "../../kit/index.js";

/** A header block of an archive, as much of it as checking needs. Names are latin1. */
export interface ArchiveHeader {
  readonly name: string;
  readonly linkName: string;
  readonly type: string;
  readonly size: number;
  /** Of an old GNU sparse file: its size with holes, and whether blocks with more of its map follow. */
  readonly sparse?: { readonly realSize: number; readonly continues: boolean };
}

/** What is wrong with a block, in words that go after the archive's name. */
export class HeaderFault extends Error {
  override readonly name = "HeaderFault";
}

export function isZeroBlock(block: Buffer): boolean {
  return block.equals(ZERO);
}

const ZERO = Buffer.alloc(TAR_BLOCK);

/** Whether the block is a header of any tar: its checksum holds. */
export function isTarHeader(block: Buffer): boolean {
  try {
    return block.length >= TAR_BLOCK && number(block, 148, 8) === tarChecksum(block);
  } catch {
    return false;
  }
}

/** @throws {HeaderFault} */
export function decodeHeader(block: Buffer): ArchiveHeader {
  if (!isTarHeader(block)) throw new HeaderFault("a header is damaged");
  const type = String.fromCharCode(block[156] ?? 0);
  const magic = text(block, 257, 6);
  // The prefix of POSIX names; star keeps times behind its first 131 bytes, GNU has other things there.
  const isPosix = magic === "ustar" && block[262] === 0;
  const isStar = isPosix && block.toString("latin1", 508, 512) === "tar\0";
  const prefix = isPosix ? text(block, 345, isStar ? 131 : 155) : "";
  const name = text(block, 0, 100);
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    linkName: text(block, 157, 100),
    type: type === "\0" ? "0" : type,
    size: number(block, 124, 12),
    ...(type === "S" ? { sparse: { realSize: number(block, 483, 12), continues: block[482] !== 0 } } : {}),
  };
}

function text(block: Buffer, offset: number, width: number): string {
  const field = block.toString("latin1", offset, offset + width);
  const end = field.indexOf("\0");
  return end < 0 ? field : field.slice(0, end);
}

/** Octal digits, or GNU's base 256. */
function number(block: Buffer, offset: number, width: number): number {
  const first = block[offset] ?? 0;
  if ((first & 0x80) !== 0) {
    if (first !== 0x80) throw new HeaderFault("a number in a header is negative or too large");
    let value = 0;
    for (let at = offset + 1; at < offset + width; at += 1) value = value * 256 + (block[at] ?? 0);
    if (!Number.isSafeInteger(value)) throw new HeaderFault("a number in a header is too large");
    return value;
  }
  const digits = text(block, offset, width).trim();
  if (digits === "") return 0;
  if (!/^[0-7]+$/.test(digits)) throw new HeaderFault("a number in a header is damaged");
  return Number.parseInt(digits, 8);
}

/** The records "LENGTH KEY=VALUE\n" of an extended header (POSIX.1-2001). @throws {HeaderFault} */
export function decodeRecords(body: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < body.length;) {
    const space = body.indexOf(0x20, at);
    const digits = space < 0 ? "" : body.toString("latin1", at, space);
    const end = at + Number(digits);
    if (!/^[1-9][0-9]{0,8}$/.test(digits) || end > body.length || end < space + 2 || body[end - 1] !== 0x0a) {
      throw new HeaderFault("an extended header is damaged");
    }
    const record = body.toString("latin1", space + 1, end - 1);
    const equals = record.indexOf("=");
    if (equals < 1) throw new HeaderFault("an extended header is damaged");
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at = end;
  }
  return records;
}
