import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  FileChange_Kind,
  type CommitRequestSchema,
  type FileChangeSchema,
} from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { checkPath, LIMITS, PyroError, type GuestBytes } from "../protocol/index.js";
import type { GuestConnection } from "./connection.js";
import { protocolError } from "./errors.js";
import { signalOf, withinOf, type FileOptions } from "./file-options.js";

interface AnyStep {
  /** Absolute; a link at its end is never followed. */
  readonly path: GuestBytes;
  /** What the regular file must hold when all is put in place, else GUEST_FILE_CHANGED. 32 bytes. */
  readonly expectSha256?: Uint8Array;
}

/** One change of a commit. */
export type CommitStep =
  /** Makes a regular file, or replaces one: then `expectSha256` is required, since without it nothing may be there. */
  | (AnyStep & { readonly kind: "write"; readonly content: Uint8Array | AsyncIterable<Uint8Array>; readonly mode?: number })
  /** A file or a link, never a directory. */
  | (AnyStep & { readonly kind: "delete" })
  /** Nothing may be at `to`; a write to it may follow. */
  | (AnyStep & { readonly kind: "move"; readonly to: GuestBytes })
  /** Permission bits of a regular file. */
  | (AnyStep & { readonly kind: "mode"; readonly mode: number });

type Request = MessageInitShape<typeof CommitRequestSchema>;

/**
 * Makes a set of changes in their order, all of them or none. A caller that leaves (`signal`) after the last of it was
 * sent does not know which.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE, GUEST_FILE_NOT_FOUND, GUEST_FILE_REFUSED, GUEST_FILE_CHANGED,
 *   GUEST_DISK_FULL, GUEST_PROTOCOL_ERROR
 */
export async function commitFiles(
  connection: GuestConnection,
  steps: readonly CommitStep[],
  options: FileOptions = {},
): Promise<void> {
  if (steps.length > LIMITS.commitSteps) {
    throw new PyroError("ARGUMENT_TOO_LARGE", `${steps.length} changes; at most ${LIMITS.commitSteps} are made at once`, {
      hint: "make them in several parts",
    });
  }
  const changes = steps.map(changeOf);
  if (changes.length === 0) return;
  const { changed } = await connection.file.commit(messages(steps, changes, withinOf(options)), signalOf(options));
  if (changed !== changes.length) throw protocolError(`${changed} changes made of ${changes.length}`);
}

const none = new Uint8Array(0);
const SHA256_BYTES = 32;
const MODE_BITS = 0o7777;

const kinds = {
  write: FileChange_Kind.WRITE,
  delete: FileChange_Kind.DELETE,
  move: FileChange_Kind.MOVE,
  mode: FileChange_Kind.MODE,
} as const;

function changeOf(step: CommitStep): MessageInitShape<typeof FileChangeSchema> {
  const expectSha256 = step.expectSha256 ?? none;
  if (expectSha256.length !== 0 && expectSha256.length !== SHA256_BYTES) {
    throw new PyroError("INVALID_ARGUMENT", `a SHA-256 of ${expectSha256.length} bytes`);
  }
  const mode = "mode" in step ? step.mode : 0;
  if (!Number.isInteger(mode) || mode < 0 || mode > MODE_BITS) {
    throw new PyroError("INVALID_ARGUMENT", `a mode of ${mode}`, { hint: "use permission bits, for example 0o644" });
  }
  const to = step.kind === "move" ? checkPath(step.to, "the new path") : none;
  return { kind: kinds[step.kind], path: checkPath(step.path, "the path"), to, mode, expectSha256 };
}

async function* messages(
  steps: readonly CommitStep[],
  changes: readonly MessageInitShape<typeof FileChangeSchema>[],
  within: Uint8Array,
): AsyncGenerator<Request> {
  for (const [index, change] of changes.entries()) {
    yield { ...(index === 0 ? { within } : {}), step: { case: "change", value: change } };
    const step = steps[index];
    if (step?.kind !== "write") continue;
    const content = step.content instanceof Uint8Array ? [step.content] : step.content;
    for await (const piece of content) {
      for (let at = 0; at < piece.length; at += LIMITS.bulkChunkBytes) {
        yield { step: { case: "data", value: piece.subarray(at, at + LIMITS.bulkChunkBytes) } };
      }
    }
  }
}
