import { checkPath, LIMITS, PyroError, type GuestBytes } from "../protocol/index.js";
import type { GuestConnection } from "./connection.js";
import { protocolError } from "./errors.js";
import { checkAbsolute, PathOrder, readEntry, type GuestFileEntry } from "./file-entry.js";
import { signalOf, withinOf, type FileOptions } from "./file-options.js";

export interface ListFilesOptions extends FileOptions {
  /** All the way down; links are not followed there. */
  readonly recursive?: boolean;
  /** LIMITS.listedEntries when left out, which is also the most. */
  readonly maxEntries?: number;
}

/** Entries in byte order of their absolute paths. */
export interface FileListing {
  readonly entries: readonly GuestFileEntry[];
  /** There is more than fits. */
  readonly isTruncated: boolean;
}

/**
 * What is in a directory of the guest, or the one thing that the path leads to.
 * @throws {PyroError} INVALID_ARGUMENT, GUEST_FILE_NOT_FOUND, GUEST_FILE_REFUSED, GUEST_PROTOCOL_ERROR
 */
export async function listFiles(
  connection: GuestConnection,
  path: GuestBytes,
  options: ListFilesOptions = {},
): Promise<FileListing> {
  const maxEntries = Math.min(options.maxEntries ?? LIMITS.listedEntries, LIMITS.listedEntries);
  if (!Number.isInteger(maxEntries) || maxEntries < 1) {
    throw new PyroError("INVALID_ARGUMENT", `a list of ${maxEntries} entries`, { hint: "ask for one or more" });
  }
  const request = {
    path: checkPath(path, "the path"),
    within: withinOf(options),
    recursive: options.recursive ?? false,
    maxEntries,
  };
  const entries: GuestFileEntry[] = [];
  const order = new PathOrder();
  let bytes = 0;
  let isTruncated = false;
  let isLast = false;
  for await (const message of connection.file.list(request, signalOf(options))) {
    if (isLast) throw protocolError("entries behind the last of a list");
    for (const sent of message.entries) {
      const entry = readEntry(sent);
      checkAbsolute(entry.path);
      order.check(entry.path);
      bytes += entry.path.length + entry.linkTarget.length;
      // An honest guest with such paths exists; what is left out is said, as with too many entries.
      if (bytes > LIMITS.listedPathBytes) return { entries, isTruncated: true };
      if (entries.push(entry) > maxEntries) throw protocolError(`more than the ${maxEntries} entries asked for`);
    }
    isTruncated = message.truncated;
    // One without entries is the last of an honest guest too: none says nothing for ever.
    isLast = isTruncated || message.entries.length === 0;
  }
  return { entries, isTruncated };
}

export interface EditOptions extends FileOptions {
  /** Not empty. */
  readonly oldText: GuestBytes;
  readonly newText: GuestBytes;
  /** Without it the old text must be there exactly once. */
  readonly replaceAll?: boolean;
}

/**
 * Replaces text in a regular file of at most LIMITS.editedFileBytes, atomically; its mode and owner stay. In a file whose
 * every line ends in CRLF, texts without a CR stand for the same with CRLF line ends; `crlf` says that they did.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE, GUEST_FILE_NOT_FOUND, GUEST_FILE_REFUSED,
 *   GUEST_EDIT_NO_MATCH, GUEST_EDIT_AMBIGUOUS, GUEST_DISK_FULL, GUEST_PROTOCOL_ERROR
 */
export async function editFile(
  connection: GuestConnection,
  path: GuestBytes,
  options: EditOptions,
): Promise<{ readonly replacements: number; readonly sizeBytes: number; readonly crlf: boolean }> {
  const request = {
    path: checkPath(path, "the path"),
    within: withinOf(options),
    oldText: checkText(options.oldText, "the old text"),
    newText: checkText(options.newText, "the new text"),
    replaceAll: options.replaceAll ?? false,
  };
  if (request.oldText.length === 0) {
    throw new PyroError("INVALID_ARGUMENT", "the old text is empty", {
      hint: "say which text is replaced, or write the whole file",
    });
  }
  const { replacements, sizeBytes, crlf } = await connection.file.edit(request, signalOf(options));
  if (replacements < 1 || (replacements > 1 && !request.replaceAll)) {
    throw protocolError(`${replacements} replacements in an edit`);
  }
  if (sizeBytes > BigInt(LIMITS.editedFileBytes)) throw protocolError(`an edited file of ${sizeBytes} bytes`);
  return { replacements, sizeBytes: Number(sizeBytes), crlf };
}

function checkText(text: GuestBytes, what: string): Uint8Array {
  const bytes = typeof text === "string" ? Buffer.from(text, "utf8") : text;
  // Both texts, and what is around them, fit a message.
  if (bytes.length <= LIMITS.editedTextBytes) return bytes;
  throw new PyroError(
    "ARGUMENT_TOO_LARGE",
    `${what} has ${bytes.length} bytes; at most ${LIMITS.editedTextBytes} fit`,
    { hint: "write the whole file instead" },
  );
}

/** A tar on its way from the guest. `data` is to be read once; leaving it early ends the transfer. */
export interface PackedTar {
  readonly data: AsyncIterable<Uint8Array>;
  /** Devices, FIFOs and sockets that are not in it; known when `data` was read to its end. */
  readonly leftOut: number;
}

/**
 * Packs a file, directory or link as a tar (PAX), with back-pressure. Its first entry, ".", is the thing itself; all
 * others lie below it. The archive is the guest's making: hostile.
 * @throws {PyroError} INVALID_ARGUMENT, GUEST_FILE_NOT_FOUND, GUEST_FILE_REFUSED, and from `data` GUEST_FILE_CHANGED when
 *   a file shrank while it was read, GUEST_PROTOCOL_ERROR
 */
export async function packTar(
  connection: GuestConnection,
  path: GuestBytes,
  options: FileOptions = {},
): Promise<PackedTar> {
  const request = { path: checkPath(path, "the path"), within: withinOf(options) };
  const messages = connection.file.packTar(request, signalOf(options))[Symbol.asyncIterator]();
  const first = await messages.next();
  if (first.done === true || first.value.data.length === 0) throw protocolError("a tar without a first message");
  const counted = { leftOut: 0 };
  const rest: AsyncIterable<{ data: Uint8Array; leftOut: bigint }> = { [Symbol.asyncIterator]: () => messages };
  return {
    data: tarBytes(first.value.data, rest, counted),
    get leftOut() {
      return counted.leftOut;
    },
  };
}

async function* tarBytes(
  first: Uint8Array,
  rest: AsyncIterable<{ data: Uint8Array; leftOut: bigint }>,
  counted: { leftOut: number },
): AsyncGenerator<Uint8Array> {
  yield first;
  let isLast = false;
  for await (const { data, leftOut } of rest) {
    if (isLast) throw protocolError("a tar that goes on behind its end");
    isLast = data.length === 0;
    if (leftOut > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolError(`${leftOut} entries left out of a tar`);
    counted.leftOut = Number(leftOut);
    if (data.length > 0) yield data;
  }
}
