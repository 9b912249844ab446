import { constants } from "node:fs";
import { lstat, mkdir, open, realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomic } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";

/** Claude Code keeps its history in its configuration: some have megabytes. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;
const BYTE_ORDER_MARK = "\ufeff";

/** A host's configuration as it stands on the disk. */
export interface ConfigFile {
  /** As the host names it; it may be a link. */
  readonly path: string;
  /** Without a byte order mark. */
  readonly text: string;
  readonly mark: boolean;
  /** Permission bits. */
  readonly mode: number;
}

/** What is wrong with a file, and where. */
export interface Flaw {
  /** 1 is the first; absent where the whole file is meant. */
  readonly line?: number;
  readonly column?: number;
  readonly says: string;
  /** What a person does about it. */
  readonly fix: string;
}

/**
 * A configuration that its host cannot read: it is left as it is.
 */
export function configInvalid(path: string, flaw: Flaw): PyroError {
  const { line, column, says, fix } = flaw;
  const at = line === undefined ? "" : `:${line}${column === undefined ? "" : `:${column}`}`;
  return new PyroError("HOST_CONFIG_INVALID", `${path}${at}: ${says}; the file was left as it is`, {
    hint: `${fix}, then try again`,
    details: { path, line: line ?? null, column: column ?? null, fix },
  });
}

/** A configuration that pyro does not write. */
export function notWritable(path: string, says: string, hint: string, cause?: unknown): PyroError {
  return new PyroError("HOST_CONFIG_NOT_WRITABLE", `${path} ${says}; it was left as it is`, {
    hint,
    details: { path },
    cause,
  });
}

/**
 * Reads a configuration; undefined where there is none. Never waits: what is no plain file is refused unread.
 * @throws {PyroError} HOST_CONFIG_INVALID
 */
export async function readConfigFile(path: string): Promise<ConfigFile | undefined> {
  let bytes: Buffer;
  let mode: number;
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = await file.stat();
    if (!facts.isFile()) throw configInvalid(path, { says: "it is no file", fix: "move it away" });
    if (facts.size > FILE_BYTES_MAX) {
      throw configInvalid(path, { says: `it has ${facts.size} bytes`, fix: "look at what fills it" });
    }
    mode = facts.mode & 0o777;
    bytes = await file.readFile();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    if (error instanceof PyroError) throw error;
    throw configInvalid(path, {
      says: `it cannot be read (${code ?? String(error)})`,
      fix: `make it readable: \`chmod u+r ${path}\``,
    });
  }
  const text = decoded(path, bytes);
  const mark = text.startsWith(BYTE_ORDER_MARK);
  return { path, text: mark ? text.slice(1) : text, mark, mode };
}

/**
 * Replaces what was read, whole; where nothing was, makes the file. A link stays a link: what it names is replaced.
 * @throws {PyroError} HOST_CONFIG_NOT_WRITABLE, HOST_CONFIG_CHANGED
 */
export async function writeConfigFile(
  path: string,
  before: ConfigFile | undefined,
  text: string,
): Promise<void> {
  const target = await writableTarget(path, before);
  const now = await readConfigFile(path);
  if (now?.text !== before?.text) {
    throw new PyroError("HOST_CONFIG_CHANGED", `${path} was changed by another meanwhile`, {
      hint: "try again",
      retryable: true,
    });
  }
  try {
    const content = before?.mark === true ? BYTE_ORDER_MARK + text : text;
    await writeFileAtomic(target, content, before?.mode ?? 0o600);
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["EACCES", "EPERM", "EROFS"].includes(code)) throw error;
    throw notWritable(path, `cannot be written (${code})`, `make ${dirname(target)} writable`, error);
  }
}

async function writableTarget(path: string, before: ConfigFile | undefined): Promise<string> {
  if (before === undefined) {
    const isLink = await lstat(path).then(
      () => true,
      () => false,
    );
    if (isLink) throw notWritable(path, "is a link to nothing", "make what it names, or remove the link");
    await makeParent(path);
    return path;
  }
  // Root may write anything, and replacing a file asks nobody: who took the right away is respected all the same.
  const { mode } = await stat(path);
  if ((mode & 0o222) === 0) throw notWritable(path, "is read-only", `run \`chmod u+w ${path}\``);
  return await realpath(path);
}

async function makeParent(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    throw notWritable(path, `cannot be made (${code})`, `make ${dirname(path)} yourself`, error);
  }
}

function decoded(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw configInvalid(path, { says: "it is not UTF-8", fix: "save it as UTF-8" });
  }
}

/** Line and column of a place in a text, both from 1. */
export function placeOf(text: string, offset: number): { readonly line: number; readonly column: number } {
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}
