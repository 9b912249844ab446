/** Layout of a tar header (POSIX.1-1988 ustar, as GNU tar and dpkg-deb write it). */
export const TAR_BLOCK = 512;

/** One entry of a tar; `size` bytes of content follow it, padded to whole blocks. */
export interface TarEntry {
  /** One character per byte (latin1), so that names that are not UTF-8 stay what they are. */
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Whole seconds since the epoch. */
  readonly mtime: number;
  /** What is over the whole seconds, 0 to 999,999,999; it travels in an extended header. */
  readonly mtimeNanos?: number;
  /** "0" file, "1" hard link, "2" symbolic link, "3" and "4" devices, "5" directory, "6" FIFO. */
  readonly type: string;
  readonly linkName: string;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

/** Bytes of padding after content of this size. */
export function tarPadding(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
}

/** An entry with everything at its default: owned by root, time zero. */
export function tarEntry(name: string, type: string, fields: Partial<TarEntry> = {}): TarEntry {
  return {
    name,
    type,
    mode: type === "5" ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 0,
    linkName: "",
    deviceMajor: 0,
    deviceMinor: 0,
    ...fields,
  };
}

/**
 * The header blocks of an entry. Names longer than 100 bytes go into GNU long-name entries before it; a time that is
 * no whole number of seconds after the epoch goes into an extended header (POSIX.1-2001).
 */
export function encodeTarHeader(entry: TarEntry): Buffer {
  const blocks: Buffer[] = [];
  const time = extendedTime(entry);
  if (time !== undefined) blocks.push(...encodeMeta("x", "././@PaxHeader", Buffer.from(time, "latin1")));
  for (const [type, text] of [
    ["K", entry.linkName],
    ["L", entry.name],
  ] as const) {
    if (text.length > 100) {
      blocks.push(...encodeMeta(type, "././@LongLink", Buffer.from(`${text}\0`, "latin1")));
    }
  }
  const block = encodeBlock(entry);
  return blocks.length === 0 ? block : Buffer.concat([...blocks, block]);
}

function encodeMeta(type: string, name: string, body: Buffer): Buffer[] {
  return [
    encodeBlock(tarEntry(name, type, { size: body.length })),
    body,
    Buffer.alloc(tarPadding(body.length)),
  ];
}

/** The record "LENGTH mtime=SECONDS\n", whose length counts itself; undefined where the plain field holds the time. */
function extendedTime({ mtime, mtimeNanos = 0 }: TarEntry): string | undefined {
  if (mtimeNanos === 0 && mtime >= 0) return undefined;
  // Before the epoch the digits after the point count away from it: -1 s and 0.25 s over is -0.75.
  const negative = mtime < 0 && mtimeNanos > 0;
  const seconds = negative ? mtime + 1 : mtime;
  const nanos = negative ? 1_000_000_000 - mtimeNanos : mtimeNanos;
  const sign = negative && seconds === 0 ? "-" : "";
  const fraction = nanos === 0 ? "" : `.${String(nanos).padStart(9, "0")}`;
  const record = ` mtime=${sign}${seconds}${fraction}\n`;
  // Two digits: the record is between 10 and 99 bytes long.
  return `${record.length + 2}${record}`;
}

function encodeBlock(entry: TarEntry): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  // latin1 keeps the bytes of names that are not UTF-8.
  block.write(entry.name, 0, 100, "latin1");
  writeNumber(block, 100, 8, entry.mode);
  writeNumber(block, 108, 8, entry.uid);
  writeNumber(block, 116, 8, entry.gid);
  writeNumber(block, 124, 12, entry.size);
  writeNumber(block, 136, 12, Math.max(0, entry.mtime));
  block.write(entry.type, 156, 1, "latin1");
  block.write(entry.linkName, 157, 100, "latin1");
  block.write("ustar  \0", 257, 8, "latin1");
  writeNumber(block, 329, 8, entry.deviceMajor);
  writeNumber(block, 337, 8, entry.deviceMinor);
  block.write(`${tarChecksum(block).toString(8).padStart(6, "0")}\0 `, 148, 8, "latin1");
  return block;
}

/** The sum of a header's bytes, its own checksum field counted as spaces. */
export function tarChecksum(block: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < 148; at += 1) sum += block[at] ?? 0;
  for (let at = 156; at < TAR_BLOCK; at += 1) sum += block[at] ?? 0;
  return sum;
}

/** Octal digits, or GNU's base 256 where they do not fit: files of 8 GiB and more. */
function writeNumber(block: Buffer, offset: number, width: number, value: number): void {
  const digits = value.toString(8);
  if (digits.length < width) {
    block.write(digits.padStart(width - 1, "0"), offset, width, "latin1");
    return;
  }
  if (width < 12) throw new RangeError(`${value} does not fit into a tar header`);
  block[offset] = 0x80;
  block.writeBigUInt64BE(BigInt(value), offset + width - 8);
}

/**
 * What a header block says, without what extended headers before it add.
 * @throws {Error} that says what is damaged
 */
export function decodeTarHeader(block: Buffer): TarEntry {
  if (readNumber(block, 148, 8) !== tarChecksum(block)) throw new Error("a header of the tar is damaged");
  // POSIX has the beginning of a long name elsewhere; GNU has other things there.
  const prefix = block.toString("latin1", 257, 263) === "ustar\0" ? readText(block, 345, 155) : "";
  const name = readText(block, 0, 100);
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    mode: readNumber(block, 100, 8),
    uid: readNumber(block, 108, 8),
    gid: readNumber(block, 116, 8),
    size: readNumber(block, 124, 12),
    mtime: readNumber(block, 136, 12),
    type: String.fromCharCode(block[156] ?? 0).replace("\0", "0"),
    linkName: readText(block, 157, 100),
    deviceMajor: readNumber(block, 329, 8),
    deviceMinor: readNumber(block, 337, 8),
  };
}

function readText(block: Buffer, offset: number, width: number): string {
  const field = block.subarray(offset, offset + width);
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? width : end).toString("latin1");
}

/** Octal digits, or GNU's base 256 as far as it is a safe number and none below zero. */
function readNumber(block: Buffer, offset: number, width: number): number {
  const text = readText(block, offset, width).trim();
  if (/^[0-7]*$/.test(text)) return Number.parseInt(text, 8) || 0;
  const value = block.subarray(offset + 1, offset + width).reduce((sum, byte) => sum * 256 + byte, 0);
  if (block[offset] === 0x80 && Number.isSafeInteger(value)) return value;
  throw new Error("a number in a header of the tar is damaged");
}
