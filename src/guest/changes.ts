import { checkPath, LIMITS, PyroError, type GuestBytes } from "../protocol/index.js";
import type { Change } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import type { GuestConnection } from "./connection.js";
import { protocolError } from "./errors.js";
import { isRelative, PathOrder, readEntry, type GuestFileEntry } from "./file-entry.js";
import { signalOf } from "./file-options.js";

export interface ChangesOptions {
  /** Only what lies at or below this path, relative to the directory. */
  readonly below?: GuestBytes;
  /** LIMITS.listedChanges when left out, which is also the most. */
  readonly maxChanges?: number;
  readonly signal?: AbortSignal;
}

/** What differs between the baseline and now; of `before` and `after` one may be missing, never both. */
export interface GuestChange {
  /** Relative to the directory that was compared. */
  readonly path: Uint8Array;
  /** Missing: it was added. */
  readonly before?: GuestFileEntry;
  /** Missing: it was deleted. */
  readonly after?: GuestFileEntry;
  /** Of regular files up to 64 MiB whose content differs, is new or is gone. */
  readonly beforeSha256?: Uint8Array;
  readonly afterSha256?: Uint8Array;
  /** Type and content are equal: only the permission bits differ. */
  readonly isModeOnly: boolean;
}

/** Changes in byte order of their paths. */
export interface GuestChanges {
  readonly changes: readonly GuestChange[];
  /** Entries that were compared; undefined when it was truncated. */
  readonly examined: number | undefined;
  /** There are more than fit. */
  readonly isTruncated: boolean;
}

/**
 * What differs from the baseline disk below a directory of the guest: added, deleted, other content, type, mode or link.
 * @throws {PyroError} INVALID_ARGUMENT (a machine without a baseline, too), GUEST_FILE_NOT_FOUND, GUEST_FILE_REFUSED,
 *   ENVIRONMENT_DAMAGED, GUEST_PROTOCOL_ERROR
 */
export async function listChanges(
  connection: GuestConnection,
  path: GuestBytes,
  options: ChangesOptions = {},
): Promise<GuestChanges> {
  const below = checkBelow(options.below);
  const maxChanges = Math.min(options.maxChanges ?? LIMITS.listedChanges, LIMITS.listedChanges);
  const changes: GuestChange[] = [];
  const order = new PathOrder();
  let bytes = 0;
  let examined: number | undefined;
  const request = { path: checkPath(path, "the path"), below };
  let isLast = false;
  for await (const message of connection.file.changes(request, signalOf(options))) {
    if (isLast) throw protocolError("changes behind the last");
    // One that says nothing is the last too: none says nothing for ever.
    isLast = message.examined > 0n || message.changes.length === 0;
    for (const sent of message.changes) {
      const change = readChange(sent, below);
      order.check(change.path);
      bytes += 2 * change.path.length + (change.before?.linkTarget.length ?? 0) + (change.after?.linkTarget.length ?? 0);
      if (changes.length >= maxChanges || bytes > LIMITS.listedPathBytes) {
        return { changes, examined: undefined, isTruncated: true };
      }
      changes.push(change);
    }
    if (message.examined > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolError(`${message.examined} entries compared`);
    if (message.examined > 0n) examined = Number(message.examined);
  }
  return { changes, examined: examined ?? 0, isTruncated: false };
}

function checkBelow(below: GuestBytes | undefined): Uint8Array {
  const bytes = typeof below === "string" ? Buffer.from(below, "utf8") : (below ?? new Uint8Array(0));
  if (bytes.length > 0 && !isRelative(bytes)) {
    throw new PyroError("INVALID_ARGUMENT", `${JSON.stringify(Buffer.from(bytes.subarray(0, 80)).toString())} is no relative path`, {
      hint: 'use a path below the directory, without ".", ".." or empty parts',
    });
  }
  return bytes;
}

const SHA256_BYTES = 32;
const SLASH = 0x2f;

function readChange(sent: Change, below: Uint8Array): GuestChange {
  const { path, modeOnly: isModeOnly } = sent;
  if (!isRelative(path)) throw protocolError(`a changed path of ${path.length} bytes that is not relative`);
  if (!isBelow(path, below)) throw protocolError("a change beside what was asked for");
  const before = sent.before === undefined ? undefined : readSide(sent.before, path);
  const after = sent.after === undefined ? undefined : readSide(sent.after, path);
  if (before === undefined && after === undefined) throw protocolError("a change of nothing");
  if (isModeOnly && before?.type !== after?.type) throw protocolError("a change of mode with another type");
  const beforeSha256 = readHash(sent.beforeSha256, before);
  const afterSha256 = readHash(sent.afterSha256, after);
  return {
    path,
    isModeOnly,
    ...(before === undefined ? {} : { before }),
    ...(after === undefined ? {} : { after }),
    ...(beforeSha256 === undefined ? {} : { beforeSha256 }),
    ...(afterSha256 === undefined ? {} : { afterSha256 }),
  };
}

function readSide(sent: Parameters<typeof readEntry>[0], path: Uint8Array): GuestFileEntry {
  const entry = readEntry(sent);
  if (Buffer.compare(entry.path, path) !== 0) throw protocolError("a change of two paths");
  // One array for all three: the others would keep what they are parts of.
  return { ...entry, path };
}

function readHash(hash: Uint8Array, entry: GuestFileEntry | undefined): Uint8Array | undefined {
  if (hash.length === 0) return undefined;
  if (hash.length !== SHA256_BYTES || entry?.type !== "file") throw protocolError(`a SHA-256 of ${hash.length} bytes`);
  return hash;
}

function isBelow(path: Uint8Array, below: Uint8Array): boolean {
  if (below.length === 0) return true;
  if (Buffer.compare(path.subarray(0, below.length), below) !== 0) return false;
  return path.length === below.length || path[below.length] === SLASH;
}
