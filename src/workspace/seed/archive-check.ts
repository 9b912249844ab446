import { TAR_BLOCK, tarPadding } from "../../kit/index.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import {
  decodeHeader,
  decodeRecords,
  HeaderFault,
  isZeroBlock,
  type ArchiveHeader,
} from "./archive-header.js";
import { nameFault, namesTop } from "./archive-name.js";
import { shown } from "./path.js";
import type { SeedTally } from "./tally.js";

/** What stands before an entry and speaks of it. */
interface Announced {
  readonly records: ReadonlyMap<string, string>;
  readonly longName?: string;
  readonly longLink?: string;
}

const NOTHING: Announced = { records: new Map() };

/** Types without content, whatever size their header says: the agent's reader takes them so too. */
const HEADER_ONLY = "123456";
/** Records that name the entry or bound it: for all entries at once they make no sense, and readers differ. */
const SINGULAR = ["path", "linkpath", "size"];
/** Names after which a record is about a sparse file. */
const SPARSE_SIZES = ["GNU.sparse.realsize", "GNU.sparse.size"];

/**
 * Checks a tar on its way: `push` gives back the bytes that may go on, which are whole entries' headers and content
 * that belongs to one. Nothing of an entry goes on before the entry was found to be fine.
 */
export class ArchiveCheck {
  readonly #archive: string;
  readonly #tally: SeedTally;
  /** Bytes that are not judged yet: less than a block, or what announces an entry. */
  #held: Buffer[] = [];
  #partial: Buffer = Buffer.alloc(0);
  /** Bytes that go through as they are: content and its padding, the map of a sparse file apart. */
  #through = 0;
  #meta: { type: string; size: number; chunks: Buffer[]; left: number } | undefined;
  #sparseMap = false;
  #announced = NOTHING;
  #zeroBlocks = 0;
  #last = "";

  constructor(archive: string, tally: SeedTally) {
    this.#archive = archive;
    this.#tally = tally;
  }

  /** Both blocks that end an archive were seen; what comes after them is nothing of ours. */
  get ended(): boolean {
    return this.#zeroBlocks === 2;
  }

  /** @throws {PyroError} SEED_ARCHIVE_INVALID, SEED_TOO_LARGE */
  push(chunk: Buffer): Buffer[] {
    const ready: Buffer[] = [];
    let data = this.#partial.length === 0 ? chunk : Buffer.concat([this.#partial, chunk]);
    this.#partial = Buffer.alloc(0);
    while (data.length > 0 && !this.ended) {
      if (this.#through > 0 && !this.#sparseMap) {
        const part = data.subarray(0, this.#through);
        ready.push(part);
        this.#through -= part.length;
        data = data.subarray(part.length);
      } else if (this.#meta !== undefined) {
        data = this.#collect(this.#meta, data);
      } else {
        if (data.length < TAR_BLOCK) {
          this.#partial = Buffer.from(data);
          break;
        }
        this.#held.push(data.subarray(0, TAR_BLOCK));
        if (this.#block(data.subarray(0, TAR_BLOCK))) ready.push(...this.#held.splice(0));
        data = data.subarray(TAR_BLOCK);
      }
    }
    // What is held points into the caller's chunk.
    this.#held = this.#held.map((held) => Buffer.from(held));
    return ready;
  }

  /** @throws {PyroError} SEED_ARCHIVE_INVALID where the archive ends too early */
  end(): void {
    if (this.ended) return;
    const where = this.#last === "" ? "" : `, after or within entry ${shown(this.#last)}`;
    throw this.#invalid(`it ends too early${where}: it was cut off`);
  }

  /** A block that is no content; true when it, and what announced it, may go on. */
  #block(block: Buffer): boolean {
    try {
      if (this.#sparseMap) {
        this.#sparseMap = block[504] !== 0;
        return true;
      }
      if (isZeroBlock(block)) {
        if (this.#announced !== NOTHING) throw new HeaderFault("it ends where an entry was announced");
        this.#zeroBlocks += 1;
        return true;
      }
      if (this.#zeroBlocks > 0) throw new HeaderFault("a block of zeros is in its middle");
      return this.#header(decodeHeader(block));
    } catch (error) {
      throw this.#named(error);
    }
  }

  #header(header: ArchiveHeader): boolean {
    if ("xgLK".includes(header.type)) {
      if (header.size > LIMITS.seedHeaderBytes) {
        throw new PyroError(
          "SEED_TOO_LARGE",
          `the archive ${shown(this.#archive)} has a header of ${header.size} bytes`,
          {
            hint: "make the archive anew with `tar cf`",
            details: { which: "header", limit: LIMITS.seedHeaderBytes },
          },
        );
      }
      const left = header.size + tarPadding(header.size);
      this.#meta = { type: header.type, size: header.size, chunks: [], left };
      if (left === 0) this.#finishMeta(this.#meta);
      return false;
    }
    this.#entry(header, this.#announced);
    this.#announced = NOTHING;
    return true;
  }

  #entry(header: ArchiveHeader, { records, longName, longLink }: Announced): void {
    // Readers differ in which of several names counts: each of them has to be fine.
    const given = [records.get("GNU.sparse.name"), longName, records.get("path")].filter(isGiven);
    const name = given[0] ?? header.name;
    this.#last = name;
    const link = longLink ?? (records.get("linkpath") || header.linkName);
    const fault = given.map(nameFault).find(isGiven) ?? entryFault(header, name, link);
    if (fault !== undefined) throw this.#invalid(`entry ${shown(name)}: ${fault}`, name);
    const size = HEADER_ONLY.includes(header.type) ? 0 : sizeOf(records.get("size"), header.size);
    const realSizes = SPARSE_SIZES.map((key) => sizeOf(records.get(key), 0));
    this.#tally.add(Math.max(size, header.sparse?.realSize ?? 0, ...realSizes));
    this.#through = size + tarPadding(size);
    this.#sparseMap = header.sparse?.continues ?? false;
  }

  #collect(meta: { chunks: Buffer[]; left: number; type: string; size: number }, data: Buffer): Buffer {
    const part = Buffer.from(data.subarray(0, meta.left));
    meta.chunks.push(part);
    this.#held.push(part);
    meta.left -= part.length;
    if (meta.left === 0) {
      try {
        this.#finishMeta(meta);
      } catch (error) {
        throw this.#named(error);
      }
    }
    return data.subarray(part.length);
  }

  #finishMeta(meta: { type: string; size: number; chunks: Buffer[] }): void {
    this.#meta = undefined;
    const body = Buffer.concat(meta.chunks).subarray(0, meta.size);
    if (meta.type === "x") {
      this.#announced = { ...this.#announced, records: decodeRecords(body) };
    } else if (meta.type === "g") {
      const singular = SINGULAR.find((key) => decodeRecords(body).has(key));
      if (singular !== undefined) throw new HeaderFault(`its global header sets "${singular}"`);
    } else {
      const text = body.toString("latin1").replace(/\0.*$/s, "");
      this.#announced = {
        ...this.#announced,
        ...(meta.type === "L" ? { longName: text } : { longLink: text }),
      };
    }
  }

  #named(error: unknown): unknown {
    if (!(error instanceof HeaderFault)) return error;
    const where = this.#last === "" ? "" : ` (after entry ${shown(this.#last)})`;
    return this.#invalid(`${error.message}${where}`);
  }

  #invalid(why: string, entry?: string): PyroError {
    return archiveInvalid(this.#archive, why, entry);
  }
}

/** @param why words after "the archive X: " */
export function archiveInvalid(archive: string, why: string, entry?: string, hint?: string): PyroError {
  return new PyroError("SEED_ARCHIVE_INVALID", `the archive ${shown(archive)} is refused: ${why}`, {
    hint: hint ?? "make it anew, for example `tar czf seed.tar.gz -C DIR .`, or seed the directory itself",
    ...(entry === undefined ? {} : { details: { entry: Buffer.from(entry, "latin1").toString("utf8") } }),
  });
}

function entryFault(header: ArchiveHeader, name: string, link: string): string | undefined {
  const fault = nameFault(name);
  if (fault !== undefined) return fault;
  switch (header.type) {
    case "0":
    case "7":
    case "S":
      if (namesTop(name)) return "the directory itself is no directory";
      return name.endsWith("/") && header.size > 0 ? "it is named as a directory and has content" : undefined;
    case "5":
      return undefined;
    case "1": {
      const target = nameFault(link);
      if (target === undefined && !namesTop(link)) return undefined;
      return `it is a hard link to ${shown(link)}, which is no file of the archive`;
    }
    case "2":
      return link === "" || link.length > 4095 || link.includes("\0")
        ? "its link target is empty or too long"
        : undefined;
    case "3":
    case "4":
      return "it is a device node";
    case "6":
      return undefined;
    default:
      return `its type ${shown(header.type)} is unknown`;
  }
}

/** An empty record leaves what the header says. */
function isGiven(text: string | undefined): text is string {
  return text !== undefined && text !== "";
}

/** @throws {HeaderFault} */
function sizeOf(record: string | undefined, otherwise: number): number {
  if (record === undefined) return otherwise;
  if (!/^[0-9]{1,15}$/.test(record)) throw new HeaderFault("a size in an extended header is damaged");
  return Number(record);
}
