/** Layout of a tar header (POSIX.1-1988 ustar, as GNU tar and dpkg-deb write it). */
export const TAR_BLOCK = 512;

/** One entry of a tar; `size` bytes of content follow it, padded to whole blocks. */
export interface TarEntry {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
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

/** The header blocks of an entry; names longer than 100 bytes go into GNU long-name entries before it. */
export function encodeTarHeader(entry: TarEntry): Buffer {
  const blocks: Buffer[] = [];
  for (const [type, text] of [
    ["K", entry.linkName],
    ["L", entry.name],
  ] as const) {
    const bytes = Buffer.from(`${text}\0`, "latin1");
    if (bytes.length <= 101) continue;
    const header = encodeBlock(tarEntry("././@LongLink", type, { size: bytes.length }));
    blocks.push(header, bytes, Buffer.alloc(tarPadding(bytes.length)));
  }
  blocks.push(encodeBlock(entry));
  return Buffer.concat(blocks);
}

function encodeBlock(entry: TarEntry): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  // latin1 keeps the bytes of names that are not UTF-8.
  block.write(entry.name.slice(0, 100), 0, "latin1");
  writeOctal(block, 100, 8, entry.mode);
  writeOctal(block, 108, 8, entry.uid);
  writeOctal(block, 116, 8, entry.gid);
  writeOctal(block, 124, 12, entry.size);
  writeOctal(block, 136, 12, entry.mtime);
  block.write(entry.type, 156, "latin1");
  block.write(entry.linkName.slice(0, 100), 157, "latin1");
  block.write("ustar  \0", 257, "latin1");
  writeOctal(block, 329, 8, entry.deviceMajor);
  writeOctal(block, 337, 8, entry.deviceMinor);
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function writeOctal(block: Buffer, offset: number, width: number, value: number): void {
  const digits = value.toString(8);
  if (digits.length > width - 1) throw new RangeError(`${value} does not fit into a tar header`);
  block.write(digits.padStart(width - 1, "0"), offset, "latin1");
}

/** What a reader of a tar is given. */
export interface TarSink {
  /** A new entry; its content, if it has any, follows. */
  entry(entry: TarEntry): Promise<void>;
  content(chunk: Buffer): Promise<void>;
}

/**
 * Reads a tar stream as dpkg-deb makes it: plain headers and GNU long names. Anything else is refused by name; so is a
 * stream that ends within an entry.
 */
export async function readTar(source: AsyncIterable<Buffer>, sink: TarSink): Promise<void> {
  const reader = new TarReader(sink);
  for await (const chunk of source) await reader.push(chunk);
  reader.end();
}

const LONG_NAME_BYTES = 64 * 1024;

class TarReader {
  readonly #sink: TarSink;
  #pending: Buffer = Buffer.alloc(0);
  #content = 0;
  #padding = 0;
  #long: { type: string; chunks: Buffer[] } | undefined;
  #longName: string | undefined;
  #longLink: string | undefined;
  #ended = false;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  async push(chunk: Buffer): Promise<void> {
    let data = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (data.length > 0) {
      if (this.#content > 0) {
        const part = data.subarray(0, this.#content);
        this.#content -= part.length;
        data = data.subarray(part.length);
        if (this.#long === undefined) await this.#sink.content(part);
        else this.#long.chunks.push(Buffer.from(part));
        if (this.#content === 0) this.#finishLong();
      } else if (this.#padding > 0) {
        const skipped = Math.min(this.#padding, data.length);
        this.#padding -= skipped;
        data = data.subarray(skipped);
      } else {
        if (data.length < TAR_BLOCK) break;
        await this.#header(data.subarray(0, TAR_BLOCK));
        data = data.subarray(TAR_BLOCK);
      }
    }
    this.#pending = Buffer.from(data);
  }

  end(): void {
    if (this.#content > 0 || this.#pending.length > 0 || !this.#ended)
      throw new Error("the tar ends too early");
  }

  async #header(block: Buffer): Promise<void> {
    if (block.every((byte) => byte === 0)) {
      this.#ended = true;
      return;
    }
    if (this.#ended) throw new Error("the tar goes on after its end");
    const entry = decodeBlock(block);
    const carries = entry.type === "0" || entry.type === "L" || entry.type === "K";
    this.#content = carries ? entry.size : 0;
    this.#padding = carries ? tarPadding(entry.size) : 0;
    if (entry.type === "L" || entry.type === "K") {
      if (entry.size > LONG_NAME_BYTES) throw new Error(`a name of ${entry.size} bytes in the tar`);
      this.#long = { type: entry.type, chunks: [] };
      return;
    }
    await this.#sink.entry({
      ...entry,
      name: this.#longName ?? entry.name,
      linkName: this.#longLink ?? entry.linkName,
    });
    this.#longName = undefined;
    this.#longLink = undefined;
  }

  #finishLong(): void {
    if (this.#long === undefined) return;
    const text = Buffer.concat(this.#long.chunks).toString("latin1").replace(/\0.*$/s, "");
    if (this.#long.type === "L") this.#longName = text;
    else this.#longLink = text;
    this.#long = undefined;
  }
}

function decodeBlock(block: Buffer): TarEntry {
  const stored = readOctal(block, 148, 8);
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  if (stored !== sum) throw new Error("a header of the tar is damaged");
  const type = String.fromCharCode(block[156] ?? 0).replace("\0", "0");
  if (!"0123456LK".includes(type)) throw new Error(`the tar holds an entry of type ${JSON.stringify(type)}`);
  return {
    name: readText(block, 0, 100),
    mode: readOctal(block, 100, 8),
    uid: readOctal(block, 108, 8),
    gid: readOctal(block, 116, 8),
    size: readOctal(block, 124, 12),
    mtime: readOctal(block, 136, 12),
    type,
    linkName: readText(block, 157, 100),
    deviceMajor: readOctal(block, 329, 8),
    deviceMinor: readOctal(block, 337, 8),
  };
}

function readText(block: Buffer, offset: number, width: number): string {
  const field = block.subarray(offset, offset + width);
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? width : end).toString("latin1");
}

function readOctal(block: Buffer, offset: number, width: number): number {
  const text = readText(block, offset, width).trim();
  if (text === "") return 0;
  if (!/^[0-7]+$/.test(text)) throw new Error("a number in a header of the tar is damaged");
  return Number.parseInt(text, 8);
}
