import { isUtf8 } from "node:buffer";
import {
  BINARY_LOOK_BYTES,
  byteString,
  bytesOf,
  looksBinary,
  textOf,
  type ByteString,
} from "../../kit/index.js";
import { LIMITS } from "../../protocol/index.js";
import type { DiffContents, EntryState } from "./changed.js";
import { textHunks, type TextHunks } from "./hunks.js";
import { quoteFileLine, quoteName } from "./quote.js";
import type { PlannedChange } from "./renames.js";

/** One entry of a diff's record; paths and targets with invalid UTF-8 replaced, otherwise as they are. */
export interface DiffEntry {
  readonly path: string;
  readonly change: "added" | "modified" | "deleted" | "renamed";
  /** Of renamed files: the old path. */
  readonly from?: string;
  /** What it is now; of deleted ones what it was. */
  readonly artifactType: EntryState["type"];
  /** What it was, where that is something else. */
  readonly oldArtifactType?: EntryState["type"];
  /** Permission bits in octal: "0644". */
  readonly oldMode: string | null;
  readonly newMode: string | null;
  readonly sizeBefore: number | null;
  readonly sizeAfter: number | null;
  readonly linkTargetBefore?: string;
  readonly linkTargetAfter?: string;
  /** A NUL in the first 8,000 bytes of a side. */
  readonly binary: boolean;
  /** Text whose lines are not shown, because a side is larger than LIMITS.diffFileBytes. */
  readonly tooLarge: boolean;
  /** Shown text is not UTF-8: the patch's bytes are exact, as text they are not. */
  readonly invalidUtf8: boolean;
  readonly insertions: number;
  readonly deletions: number;
}

export interface FileDiff {
  readonly entry: DiffEntry;
  /** Its part of the patch; exact bytes. */
  readonly patch: Uint8Array;
}

interface Shown extends TextHunks {
  readonly binary: boolean;
  readonly tooLarge: boolean;
  readonly invalidUtf8: boolean;
}

const NOTHING: Shown = {
  text: "",
  insertions: 0,
  deletions: 0,
  binary: false,
  tooLarge: false,
  invalidUtf8: false,
};

/** The record and the text of one change. */
export async function fileDiff(change: PlannedChange, contents: DiffContents): Promise<FileDiff> {
  const shown = await textOfChange(change, contents);
  const { path, from, before, after } = change;
  const entry: DiffEntry = {
    path: textOf(path),
    change: kindOf(change),
    ...(from === undefined ? {} : { from: textOf(from) }),
    artifactType: (after ?? before)?.type ?? "other",
    ...(before !== undefined && after !== undefined && before.type !== after.type
      ? { oldArtifactType: before.type }
      : {}),
    oldMode: octal(before),
    newMode: octal(after),
    sizeBefore: before?.sizeBytes ?? null,
    sizeAfter: after?.sizeBytes ?? null,
    ...(before?.linkTarget === undefined ? {} : { linkTargetBefore: textOf(byteString(before.linkTarget)) }),
    ...(after?.linkTarget === undefined ? {} : { linkTargetAfter: textOf(byteString(after.linkTarget)) }),
    binary: shown.binary,
    tooLarge: shown.tooLarge,
    invalidUtf8: shown.invalidUtf8,
    insertions: shown.insertions,
    deletions: shown.deletions,
  };
  return { entry, patch: bytesOf(patchOf(change, shown)) };
}

function kindOf({ from, before, after }: PlannedChange): DiffEntry["change"] {
  if (from !== undefined) return "renamed";
  if (before === undefined) return "added";
  return after === undefined ? "deleted" : "modified";
}

function octal(state: EntryState | undefined): string | null {
  return state === undefined ? null : state.mode.toString(8).padStart(4, "0");
}

/** Reads what is to be compared; nothing where names, modes and types say all. */
async function textOfChange(change: PlannedChange, contents: DiffContents): Promise<Shown> {
  const { path, from, before, after } = change;
  const files = [before, after].every((state) => state === undefined || state.type === "file");
  if (from !== undefined || change.modeOnly || !files) return NOTHING;
  const large = [before, after].some((state) => (state?.sizeBytes ?? 0) > LIMITS.diffFileBytes);
  const read = async (side: "before" | "after"): Promise<Uint8Array> =>
    (side === "before" ? before : after) === undefined
      ? new Uint8Array()
      : contents.read(side, bytesOf(path), large ? BINARY_LOOK_BYTES : LIMITS.diffFileBytes + 1);
  const [old, now] = await Promise.all([read("before"), read("after")]);
  const [oldText, newText] = [byteString(old), byteString(now)];
  if (looksBinary(oldText) || looksBinary(newText)) return { ...NOTHING, binary: true };
  // A file that grew after it was listed is as large as one that was large then.
  if (large || Math.max(old.length, now.length) > LIMITS.diffFileBytes) return { ...NOTHING, tooLarge: true };
  const hunks = textHunks(oldText, newText);
  return { ...NOTHING, ...hunks, invalidUtf8: hunks.text !== "" && !(isUtf8(old) && isUtf8(now)) };
}

/**
 * Headers and hunks as git writes them, and one line that begins with "# " for what a text patch cannot carry: git
 * and our own patch take such lines for a comment.
 */
function patchOf(change: PlannedChange, shown: Shown): ByteString {
  return (
    gitPart(change, shown) +
    remarksOf(change, shown)
      .map((remark) => `# ${remark}\n`)
      .join("")
  );
}

function gitPart({ path, from, before, after }: PlannedChange, shown: Shown): ByteString {
  if ((before ?? after)?.type !== "file" || (after ?? before)?.type !== "file") return "";
  const modes = before !== undefined && after !== undefined && gitMode(before) !== gitMode(after);
  const hidden = shown.binary || shown.tooLarge;
  const oneSided = before === undefined || after === undefined;
  if (!modes && (hidden || (!oneSided && from === undefined && shown.text === ""))) return "";
  if (oneSided && hidden) return "";
  const lines = [`diff --git ${quoteName(`a/${from ?? path}`)} ${quoteName(`b/${path}`)}`];
  if (before === undefined && after !== undefined) lines.push(`new file mode ${gitMode(after)}`);
  if (after === undefined && before !== undefined) lines.push(`deleted file mode ${gitMode(before)}`);
  if (modes) lines.push(`old mode ${gitMode(before)}`, `new mode ${gitMode(after)}`);
  if (from !== undefined) {
    lines.push("similarity index 100%", `rename from ${quoteName(from)}`, `rename to ${quoteName(path)}`);
  }
  if (shown.text !== "") {
    lines.push(`--- ${before === undefined ? "/dev/null" : quoteFileLine(`a/${path}`)}`);
    lines.push(`+++ ${after === undefined ? "/dev/null" : quoteFileLine(`b/${path}`)}`);
  }
  return lines.map((line) => `${line}\n`).join("") + shown.text;
}

/** The only two modes of files that git knows. */
function gitMode(state: EntryState): string {
  return (state.mode & 0o100) === 0 ? "100644" : "100755";
}

function remarksOf(change: PlannedChange, shown: Shown): ByteString[] {
  const { path, before, after } = change;
  const name = quoteName(path);
  const kind = kindOf(change);
  const sizes = [before, after]
    .filter((state) => state !== undefined)
    .map((state) => String(state.sizeBytes));
  if (before !== undefined && after !== undefined && before.type !== after.type) {
    return [`type changed: ${name} (${described(before)}, now ${described(after)})`];
  }
  const type = (after ?? before)?.type ?? "other";
  const remarks: ByteString[] = [];
  if (type === "symlink" && linkOf(before) !== linkOf(after)) {
    const targets = [before, after]
      .filter((state) => state !== undefined)
      .map((state) => quoteName(linkOf(state)));
    remarks.push(`symlink ${kind}: ${name} -> ${targets.join(", now -> ")}`);
  } else if (type !== "file" && type !== "symlink" && (before === undefined || after === undefined)) {
    remarks.push(`${type === "other" ? "special file" : type} ${kind}: ${name}`);
  }
  if (shown.binary) remarks.push(`binary ${kind}: ${name} (${sizes.join(" -> ")} bytes)`);
  if (shown.tooLarge) remarks.push(`too large to show, ${kind}: ${name} (${sizes.join(" -> ")} bytes)`);
  // Git's headers tell of the executable bit; nothing tells of the others.
  const [oldMode, newMode] = [octal(before), octal(after)];
  const told =
    type === "file" && before !== undefined && after !== undefined && gitMode(before) !== gitMode(after);
  if (before !== undefined && after !== undefined && oldMode !== newMode && !told && type !== "symlink") {
    remarks.push(`mode changed: ${name} (${oldMode ?? ""} -> ${newMode ?? ""})`);
  }
  return remarks;
}

function linkOf(state: EntryState | undefined): ByteString {
  return state?.linkTarget === undefined ? "" : byteString(state.linkTarget);
}

function described(state: EntryState): ByteString {
  return state.type === "symlink" ? `symlink -> ${quoteName(linkOf(state))}` : state.type;
}
