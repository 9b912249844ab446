import { checkPath, LIMITS, type GuestBytes } from "../protocol/index.js";
import { Tree } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import type { GuestConnection } from "./connection.js";
import { protocolError } from "./errors.js";
import { signalOf, withinOf, type FileOptions } from "./file-options.js";

export interface DownloadOptions extends FileOptions {
  /** The disk as it was when the workspace was made, in place of what it is. */
  readonly tree?: "baseline";
  readonly offset?: number;
  /** To the end of the file when left out. */
  readonly maxBytes?: number;
}

/** A file on its way from the guest. `data` is to be read once; leaving it early ends the transfer. */
export interface Download {
  /** Of the whole file, as the guest says. */
  readonly sizeBytes: number;
  readonly data: AsyncIterable<Uint8Array>;
}

/**
 * Reads a regular file of the guest, with back-pressure.
 * @throws {PyroError} INVALID_ARGUMENT, GUEST_FILE_NOT_FOUND, GUEST_FILE_REFUSED, GUEST_PROTOCOL_ERROR
 */
export async function downloadFile(
  connection: GuestConnection,
  path: GuestBytes,
  options: DownloadOptions = {},
): Promise<Download> {
  const limit = options.maxBytes ?? 0;
  const request = {
    path: checkPath(path, "the path"),
    offset: BigInt(options.offset ?? 0),
    maxBytes: BigInt(limit),
    within: withinOf(options),
    tree: options.tree === "baseline" ? Tree.BASELINE : Tree.UNSPECIFIED,
  };
  const messages = connection.file.read(request, signalOf(options))[Symbol.asyncIterator]();
  const first = await messages.next();
  if (first.done === true) throw protocolError("a file without a first message");
  const { sizeBytes, data } = first.value;
  if (sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolError(`a file of ${sizeBytes} bytes`);
  const rest: AsyncIterable<{ data: Uint8Array }> = { [Symbol.asyncIterator]: () => messages };
  return { sizeBytes: Number(sizeBytes), data: bounded(data, rest, limit) };
}

async function* bounded(
  first: Uint8Array,
  rest: AsyncIterable<{ data: Uint8Array }>,
  limit: number,
): AsyncGenerator<Uint8Array> {
  let total = first.length;
  if (first.length > 0) yield first;
  for await (const { data } of rest) {
    total += data.length;
    if (limit > 0 && total > limit) throw protocolError(`a file stream beyond the ${limit} bytes asked for`);
    if (data.length > 0) yield data;
  }
}

/**
 * Writes a regular file of the guest: to a temporary name beside it, then renamed.
 * @throws {PyroError} INVALID_ARGUMENT, GUEST_FILE_REFUSED, GUEST_DISK_FULL, GUEST_PROTOCOL_ERROR
 */
export async function uploadFile(
  connection: GuestConnection,
  path: GuestBytes,
  data: AsyncIterable<Uint8Array>,
  options: FileOptions & { readonly mode?: number } = {},
): Promise<{ readonly bytesWritten: number }> {
  const sent = { bytes: 0 };
  const head = { path: checkPath(path, "the path"), mode: options.mode ?? 0, within: withinOf(options) };
  const answer = await connection.file.write(chunks(head, data, sent), signalOf(options));
  if (answer.bytesWritten !== BigInt(sent.bytes)) {
    throw protocolError(`${answer.bytesWritten} bytes written of ${sent.bytes}`);
  }
  return { bytesWritten: sent.bytes };
}

/**
 * Unpacks a tar stream under a directory of the guest, which is made when missing. Counts are the guest's word.
 * @throws {PyroError} as uploadFile
 */
export async function extractTar(
  connection: GuestConnection,
  directory: GuestBytes,
  data: AsyncIterable<Uint8Array>,
  options: FileOptions = {},
): Promise<{ readonly entryCount: number; readonly bytesWritten: number }> {
  const head = { directory: checkPath(directory, "the directory"), within: withinOf(options) };
  const answer = await connection.file.extractTar(chunks(head, data, { bytes: 0 }), signalOf(options));
  return { entryCount: Number(answer.entryCount), bytesWritten: Number(answer.bytesWritten) };
}

/** The first message says where to, the others carry data in chunks; each is pulled when the transport has room. */
async function* chunks<T extends object>(
  head: T,
  data: AsyncIterable<Uint8Array>,
  sent: { bytes: number },
): AsyncGenerator<Partial<T> & { data: Uint8Array }> {
  yield { ...head, data: new Uint8Array(0) };
  for await (const piece of data) {
    for (let at = 0; at < piece.length; at += LIMITS.bulkChunkBytes) {
      const part = piece.subarray(at, at + LIMITS.bulkChunkBytes);
      sent.bytes += part.length;
      yield { data: part } as Partial<T> & { data: Uint8Array };
    }
  }
}
