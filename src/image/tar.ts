import { decodeTarHeader, TAR_BLOCK, tarPadding, type TarEntry } from "../kit/index.js";

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
  const entry = decodeTarHeader(block);
  if (!"0123456LK".includes(entry.type)) {
    throw new Error(`the tar holds an entry of type ${JSON.stringify(entry.type)}`);
  }
  return entry;
}
