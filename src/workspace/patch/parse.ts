import { LIMITS, PyroError } from "../../protocol/index.js";
import type { ByteString } from "../../kit/index.js";
import { readHunk, type Hunk } from "./hunk.js";
import { invalidPatch } from "./invalid.js";
import { checkName, readFileLineName, readGitLineNames, readQuoted, withoutPrefixes } from "./name.js";
import { PatchText } from "./patch-text.js";

/** What a patch says about one file. */
export interface FilePatch {
  /** Its first header line in the patch, from 1. */
  readonly line: number;
  /** Undefined: the file is made. */
  readonly oldPath: ByteString | undefined;
  /** Undefined: the file goes. */
  readonly newPath: ByteString | undefined;
  /** Permission bits, where the headers say so. */
  readonly newMode: number | undefined;
  readonly hunks: readonly Hunk[];
}

/** Headers of one file as they were read. */
interface Headers {
  readonly line: number;
  git?: readonly [ByteString, ByteString] | undefined;
  old?: ByteString;
  new?: ByteString;
  renameFrom?: ByteString;
  renameTo?: ByteString;
  made?: boolean;
  gone?: boolean;
  mode?: number;
}

const DEV_NULL = "/dev/null";
// How GNU diff -N marks a side that does not exist: the epoch, in any time zone.
const EPOCH = /^\t(?:1970-01-01 (?:0\d|1[0-4])|1969-12-31 (?:1\d|2\d)):\d\d:00/;

/**
 * A strict unified diff, as git, GNU diff and models write it.
 * @throws {PyroError} PATCH_INVALID: the line, what is wrong, what to write instead
 */
export function parsePatch(patch: string | Uint8Array): FilePatch[] {
  const text = new PatchText(patch);
  const files: FilePatch[] = [];
  let hunkCount = 0;
  let at = 0;
  while (at < text.lines.length) {
    const read = readFile(text, at, files.length > 0);
    at = read.end;
    if (read.file === undefined) continue;
    files.push(read.file);
    hunkCount += read.file.hunks.length;
    if (files.length > LIMITS.patchFiles || hunkCount > LIMITS.patchHunks) {
      const most = `at most ${LIMITS.patchFiles} files and ${LIMITS.patchHunks} hunks`;
      throw invalidPatch(read.file.line, "", `a patch has ${most}`, "apply it in parts");
    }
  }
  if (files.length === 0) throw nothingFound(text);
  return files;
}

function nothingFound(text: PatchText): PyroError {
  const codex = text.lines.findIndex((line) => line.startsWith("*** Begin Patch"));
  const context = text.lines.findIndex((line) => line.startsWith("*** "));
  const form = "send a unified diff: --- a/FILE, +++ b/FILE, then hunks that begin with @@ -12,4 +12,5 @@";
  if (codex >= 0) return invalidPatch(codex + 1, text.lines[codex] ?? "", "not a unified diff", form);
  if (context >= 0)
    return invalidPatch(context + 1, text.lines[context] ?? "", "context diffs are refused", form);
  const empty = text.lines.every((line) => line.trim() === "");
  return new PyroError("PATCH_INVALID", empty ? "the patch is empty" : "the patch has no file header", {
    hint: form,
    details: { line: 1, problem: empty ? "empty" : "no file header" },
  });
}

/** One file that begins at `at`, or nothing where a line between files stands. */
function readFile(text: PatchText, at: number, afterFirst: boolean): { file?: FilePatch; end: number } {
  const line = text.lines[at] ?? "";
  if (line.startsWith("diff --git ")) return readGitFile(text, at);
  if (text.isFilePair(at)) {
    const headers: Headers = { line: at + 1 };
    return readHunks(text, readFilePair(text, at, headers), headers);
  }
  refuseStray(text, at);
  // A mail of git format-patch behind another, or the words of a model between two fences.
  if (!afterFirst || text.isBetween(at)) return { end: skipBetween(text, at) };
  throw invalidPatch(
    at + 1,
    line,
    "neither a line of a hunk nor a header",
    "begin each line of a hunk with a space, - or +, and leave words out",
  );
}

/** One line; behind the end of a fence or of a mail, all up to the next header or fence. */
function skipBetween(text: PatchText, at: number): number {
  const mail = text.isSignature(at) || /^From [0-9a-f]{40} /.test(text.lines[at] ?? "");
  let end = at + 1;
  if (!mail && !text.isFence(at)) return end;
  while (end < text.lines.length && !text.lines[end]?.startsWith("diff --git ") && !text.isFilePair(end)) {
    if (text.isFence(end)) return end;
    refuseStray(text, end);
    end++;
  }
  return end;
}

function refuseStray(text: PatchText, at: number): void {
  const line = text.lines[at] ?? "";
  const next = text.lines[at + 1] ?? "";
  const refuse = (problem: string, hint: string): never => {
    throw invalidPatch(at + 1, line, problem, hint);
  };
  if (/^diff --(?:cc|combined) /.test(line))
    refuse("combined diffs of merges are refused", "diff against one parent");
  if (/^Binary files .* differ$/.test(line) || line === "GIT binary patch") refuseBinary(at, line);
  if (/^--- ./.test(line) && next.startsWith("@@"))
    refuse("the +++ line is missing", "put +++ b/FILE behind it");
  if (/^\+\+\+ ./.test(line) && next.startsWith("@@"))
    refuse("the --- line is missing", "put --- a/FILE before it");
  if (/^@@ *-\d/.test(line))
    refuse("a hunk without a file header", "put --- a/FILE and +++ b/FILE before it");
}

function refuseBinary(at: number, line: ByteString): never {
  const hint = "make the file with `pyro workspace sync push`, or with a command in the workspace";
  throw invalidPatch(at + 1, line, "binary patches are refused", hint);
}

function readGitFile(text: PatchText, start: number): { file: FilePatch; end: number } {
  const headers: Headers = { line: start + 1, git: readGitLineNames((text.lines[start] ?? "").slice(11)) };
  let at = start + 1;
  while (at < text.lines.length && readExtended(text.lines[at] ?? "", at, headers)) at++;
  if (text.isFilePair(at)) at = isOwnPair(text, at, headers) ? readFilePair(text, at, headers) : at;
  else if (/^(?:Binary files |GIT binary patch)/.test(text.lines[at] ?? ""))
    refuseBinary(at, text.lines[at] ?? "");
  // Models leave the --- and +++ lines out; the first header names the file as well.
  else if (!text.lines[at]?.startsWith("@@")) refuseStray(text, at);
  return readHunks(text, at, headers);
}

/** Whether `---` and `+++` name what the git header names; else they begin the next file. */
function isOwnPair(text: PatchText, at: number, headers: Headers): boolean {
  const own = (name: ByteString, others: readonly (ByteString | undefined)[]): boolean =>
    name === DEV_NULL ||
    others.some(
      (other) => other !== undefined && (name === other || `${name.slice(0, 2)}${other}` === name),
    ) ||
    others.some((other) => other?.slice(2) === name);
  if (headers.git === undefined && headers.renameFrom === undefined) return true;
  const before = readFileLineName((text.lines[at] ?? "").slice(4)).name;
  const after = readFileLineName((text.lines[at + 1] ?? "").slice(4)).name;
  return (
    own(before, [headers.git?.[0], headers.renameFrom]) && own(after, [headers.git?.[1], headers.renameTo])
  );
}

/** An extended header of git; false where they end. */
function readExtended(line: ByteString, at: number, headers: Headers): boolean {
  const match =
    /^(old mode|new mode|new file mode|deleted file mode|rename from|rename to|copy from|copy to|similarity index|dissimilarity index|index) (.*)$/s.exec(
      line,
    );
  const [, word = "", value = ""] = match ?? [];
  const name = (): ByteString => readQuoted(value)?.name ?? value;
  switch (word) {
    case "copy from":
    case "copy to":
      throw invalidPatch(at + 1, line, "copies are refused", "add the copy as a new file with all its lines");
    case "rename from":
      headers.renameFrom = name();
      break;
    case "rename to":
      headers.renameTo = name();
      break;
    case "index":
      readMode(/ (\d+)$/.exec(value)?.[1] ?? "100644", line, at);
      break;
    case "old mode":
    case "deleted file mode":
      readMode(value, line, at);
      headers.gone ||= word === "deleted file mode";
      break;
    case "new mode":
    case "new file mode":
      headers.mode = readMode(value, line, at);
      headers.made ||= word === "new file mode";
      break;
    default:
      return word !== "";
  }
  return true;
}

function readMode(value: string, line: ByteString, at: number): number {
  const digits = value.trim();
  if (/^100[0-7]{3}$/.test(digits)) return parseInt(digits.slice(3), 8);
  if (digits.startsWith("120")) {
    throw invalidPatch(
      at + 1,
      line,
      "symbolic links are refused in patches",
      "make the link with `ln -s` in the workspace",
    );
  }
  if (digits.startsWith("160")) {
    throw invalidPatch(at + 1, line, "submodules are refused in patches", "leave this file out of the patch");
  }
  throw invalidPatch(
    at + 1,
    line,
    "not the mode of a regular file",
    "write 100644, or 100755 for an executable",
  );
}

/** Reads `---` and `+++`; gives the line behind them. */
function readFilePair(text: PatchText, at: number, headers: Headers): number {
  const before = readFileLineName((text.lines[at] ?? "").slice(4));
  const after = readFileLineName((text.lines[at + 1] ?? "").slice(4));
  headers.old = EPOCH.test(before.rest) ? DEV_NULL : before.name;
  headers.new = EPOCH.test(after.rest) ? DEV_NULL : after.name;
  return at + 2;
}

function readHunks(text: PatchText, start: number, headers: Headers): { file: FilePatch; end: number } {
  const hunks: Hunk[] = [];
  let at = start;
  for (;;) {
    let next = at;
    while (text.lines[next] === "") next++;
    if (!text.lines[next]?.startsWith("@@")) break;
    const read = readHunk(text, next, hunks.length + 1);
    hunks.push(read.hunk);
    at = read.end;
  }
  return { file: fileOf(headers, hunks), end: at };
}

function fileOf(headers: Headers, hunks: readonly Hunk[]): FilePatch {
  const [oldPath, newPath] = pathsOf(headers);
  const file: FilePatch = { line: headers.line, oldPath, newPath, newMode: headers.mode, hunks };
  const kinds = new Set(hunks.flatMap((hunk) => hunk.lines.map((line) => line.kind)));
  const shown = newPath ?? oldPath ?? "";
  if (oldPath === undefined && (kinds.has("-") || kinds.has(" "))) {
    throw invalidPatch(
      headers.line,
      shown,
      "a new file has old lines",
      "begin each line of a new file with +",
    );
  }
  if (newPath === undefined && (kinds.has("+") || kinds.has(" "))) {
    throw invalidPatch(
      headers.line,
      shown,
      "a deleted file keeps lines",
      "begin each line of a deleted file with -",
    );
  }
  const says = hunks.length > 0 || oldPath !== newPath || headers.mode !== undefined;
  if (!says)
    throw invalidPatch(
      headers.line,
      shown,
      "nothing is said about this file",
      "give it hunks, or leave it out",
    );
  return file;
}

function pathsOf(headers: Headers): readonly [ByteString | undefined, ByteString | undefined] {
  const check = (name: ByteString | undefined): ByteString | undefined =>
    name === undefined ? undefined : checkName(name, headers.line);
  if (headers.renameFrom !== undefined || headers.renameTo !== undefined) {
    return [
      checkName(headers.renameFrom ?? "", headers.line),
      checkName(headers.renameTo ?? "", headers.line),
    ];
  }
  const written = headers.old ?? headers.git?.[0];
  const target = headers.new ?? headers.git?.[1];
  if (written === undefined || target === undefined) {
    throw invalidPatch(
      headers.line,
      "",
      "both names of the file cannot be told apart",
      "add --- a/FILE and +++ b/FILE lines",
    );
  }
  const made = headers.made === true || written === DEV_NULL;
  const gone = headers.gone === true || target === DEV_NULL;
  if (made && gone) {
    throw invalidPatch(
      headers.line,
      written,
      "both sides of the file are /dev/null",
      "name the file on one side",
    );
  }
  const [oldPath, newPath] = withoutPrefixes(
    written === DEV_NULL ? undefined : written,
    target === DEV_NULL ? undefined : target,
    headers.git,
  );
  if (made) return [undefined, check(newPath)];
  if (gone) return [check(oldPath), undefined];
  // What patch(1) leaves, and what people diff against.
  if (oldPath !== newPath && oldPath !== `${newPath ?? ""}.orig`) {
    const problem = "the two names of the file differ";
    throw invalidPatch(
      headers.line,
      `${written} ${target}`,
      problem,
      "a rename needs `rename from` and `rename to` lines",
    );
  }
  return [check(newPath), check(newPath)];
}
