import type { FileHandle } from "node:fs/promises";
import { decodeTarHeader, TAR_BLOCK, tarPadding } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";

/** Where a file's content lies in an archive. */
export interface TarPlace {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Extended headers, long names, and the content of plain files; all else has a header alone. */
const BODIES = "0" + "7" + "xgLK";

/**
 * Finds files in a tar, without a look at their content. Names that are not wanted are passed over, whatever they are: a
 * name is only ever compared.
 * @param isWanted told names without "./" before them
 * @throws {Error} that says what is wrong: no tar, one that is cut off, one with too much in it, the same name twice
 */
export async function indexTar(
  file: FileHandle,
  isWanted: (name: string) => boolean,
  signal: AbortSignal,
): Promise<Map<string, TarPlace>> {
  const { size } = await file.stat();
  const found = new Map<string, TarPlace>();
  let extended: Extended = {};
  let entries = 0;
  for (let at = 0; at < size;) {
    signal.throwIfAborted();
    const block = await readAt(file, at, TAR_BLOCK);
    at += TAR_BLOCK;
    if (block.every((byte) => byte === 0)) return found;
    if (++entries > LIMITS.archiveEntries)
      throw new Error(`it has more than ${LIMITS.archiveEntries} entries`);
    const header = decodeTarHeader(block);
    const isMeta = "xgLK".includes(header.type);
    const sizeBytes = isMeta ? header.size : (extended.size ?? header.size);
    // What is of no known type may have content; to pass over too much is only to find less.
    const bytes = BODIES.includes(header.type) || !/^[1-6]$/.test(header.type) ? sizeBytes : 0;
    if (bytes > size - at) throw new Error("it ends in the middle of a file");
    if (isMeta) {
      if (bytes > LIMITS.archiveHeaderBytes) throw new Error("it has a name that is too long");
      if (header.type !== "g")
        extended = { ...extended, ...read(header.type, await readAt(file, at, bytes)) };
    } else {
      const name = (extended.path ?? header.name).replace(/^(?:\.\/)+/, "");
      if ("07".includes(header.type) && isWanted(name)) {
        if (found.has(name)) throw new Error(`it has ${name} twice`);
        found.set(name, { offset: at, sizeBytes });
      }
      extended = {};
    }
    at += bytes + tarPadding(bytes);
  }
  // Some end without the two empty blocks, and are whole all the same.
  return found;
}

interface Extended {
  readonly path?: string;
  readonly size?: number;
}

function read(type: string, body: Buffer): Extended {
  if (type === "L") return { path: body.toString("latin1").replace(/\0.*$/s, "") };
  return type === "x" ? records(body) : {};
}

/** Records "LENGTH KEY=VALUE\n" (POSIX.1-2001, pax): the two that say where what is. */
function records(body: Buffer): Extended {
  let found: Extended = {};
  for (let at = 0; at < body.length;) {
    const head = /^(\d{1,6}) /.exec(body.toString("latin1", at, at + 8));
    const length = Number(head?.[1] ?? 0);
    const text = body.toString("latin1", at + (head?.[0].length ?? 0), at + length - 1);
    if (head === null || length <= head[0].length || at + length > body.length)
      throw new Error("a record of it is damaged");
    const [, key, value = ""] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    if (key === "path") found = { ...found, path: value };
    if (key === "size") {
      if (!/^\d{1,15}$/.test(value)) throw new Error("a size in it is damaged");
      found = { ...found, size: Number(value) };
    }
    at += length;
  }
  return found;
}

async function readAt(file: FileHandle, offset: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  for (let done = 0; done < bytes;) {
    const { bytesRead } = await file.read(buffer, done, bytes - done, offset + done);
    if (bytesRead === 0) throw new Error("it is cut off");
    done += bytesRead;
  }
  return buffer;
}
