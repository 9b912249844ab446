import { FileType, type FileEntry } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { protocolError } from "./errors.js";

/** What a name of the guest leads to; all of it is the guest's word. */
export interface GuestFileEntry {
  /** As bytes: names need not be UTF-8. */
  readonly path: Uint8Array;
  /** "other": devices, FIFOs, sockets. */
  readonly type: "file" | "directory" | "symlink" | "other";
  readonly sizeBytes: number;
  /** Permission bits. */
  readonly mode: number;
  readonly mtimeNs: bigint;
  /** Of a symlink, verbatim; empty for all else. */
  readonly linkTarget: Uint8Array;
}

/** Linux takes no longer path. */
const PATH_BYTES = 4095;
const SLASH = 0x2f;
const MODE_BITS = 0o7777;

const types = new Map<FileType, GuestFileEntry["type"]>([
  [FileType.FILE, "file"],
  [FileType.DIRECTORY, "directory"],
  [FileType.SYMLINK, "symlink"],
  [FileType.OTHER, "other"],
]);

/** Throws GUEST_PROTOCOL_ERROR for what no file can be. Its path is checked by who knows what it is relative to. */
export function readEntry(entry: FileEntry): GuestFileEntry {
  const type = types.get(entry.type);
  if (type === undefined) throw protocolError(`a file of type ${entry.type}`);
  if (entry.sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolError(`a file of ${entry.sizeBytes} bytes`);
  if (entry.mode > MODE_BITS) throw protocolError(`a file of mode ${entry.mode}`);
  const { path, mode, mtimeNs, linkTarget } = entry;
  if (linkTarget.length > PATH_BYTES || (linkTarget.length > 0 && type !== "symlink")) {
    throw protocolError(`a link target of ${linkTarget.length} bytes for a ${type}`);
  }
  return { path, type, sizeBytes: Number(entry.sizeBytes), mode, mtimeNs, linkTarget };
}

/** Takes an absolute path of the guest, as it says it. */
export function checkAbsolute(path: Uint8Array): void {
  if (path[0] !== SLASH || path.length > PATH_BYTES || path.includes(0)) {
    throw protocolError(`a path of ${path.length} bytes that is not absolute`);
  }
}

/** Whether a relative path has no part that is empty, "." or "..", and could be one of Linux. */
export function isRelative(path: Uint8Array): boolean {
  if (path.length === 0 || path.length > PATH_BYTES || path.includes(0)) return false;
  const parts = Buffer.from(path.buffer, path.byteOffset, path.length).toString("latin1").split("/");
  return parts.every((part) => part !== "" && part !== "." && part !== "..");
}

/** Sees that paths come in ascending byte order, and so each once. */
export class PathOrder {
  #last: Uint8Array | undefined;

  check(path: Uint8Array): void {
    if (this.#last !== undefined && Buffer.compare(this.#last, path) >= 0) throw protocolError("paths out of order");
    this.#last = path;
  }
}
