import type { ByteString } from "../../kit/index.js";
import { invalidPatch } from "./invalid.js";

/** A file name of a header, read up to its end; `rest` is what follows it. */
export interface ReadName {
  readonly name: ByteString;
  readonly rest: ByteString;
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  t: "\t",
  n: "\n",
  v: "\v",
  f: "\f",
  r: "\r",
  '"': '"',
  "\\": "\\",
};

/**
 * A name as git and GNU diff quote it (git's quote.c): `"tab\there\303\251"`. Undefined when the text does not begin
 * with a well-formed quoted name.
 */
export function readQuoted(text: ByteString): ReadName | undefined {
  if (!text.startsWith('"')) return undefined;
  let name = "";
  for (let at = 1; at < text.length; at++) {
    const char = text.charAt(at);
    if (char === '"') return { name, rest: text.slice(at + 1) };
    if (char !== "\\") {
      name += char;
      continue;
    }
    const octal = /^[0-3][0-7]{2}/.exec(text.slice(at + 1, at + 4))?.[0];
    const escaped =
      octal === undefined ? ESCAPES[text.charAt(at + 1)] : String.fromCharCode(parseInt(octal, 8));
    if (escaped === undefined) return undefined;
    name += escaped;
    at += octal === undefined ? 1 : 3;
  }
  return undefined;
}

/** The name of a `---` or `+++` line: quoted, or up to a tab, after which a time may stand. */
export function readFileLineName(text: ByteString): ReadName {
  const quoted = readQuoted(text);
  if (quoted !== undefined) return quoted;
  const tab = text.indexOf("\t");
  return tab < 0 ? { name: text.trimEnd(), rest: "" } : { name: text.slice(0, tab), rest: text.slice(tab) };
}

/**
 * Both names of a `diff --git` line. Unquoted names may hold spaces: then both must be the same behind their
 * one-component prefixes, as git itself reads it; otherwise undefined (a rename names both on lines of their own).
 */
export function readGitLineNames(text: ByteString): readonly [ByteString, ByteString] | undefined {
  const first = readQuoted(text);
  if (first !== undefined) {
    const second = first.rest.slice(1);
    return [first.name, readQuoted(second)?.name ?? second];
  }
  const quoteAt = text.indexOf(' "');
  if (quoteAt > 0 && text.endsWith('"')) {
    const second = readQuoted(text.slice(quoteAt + 1));
    if (second?.rest === "") return [text.slice(0, quoteAt), second.name];
  }
  for (let space = text.indexOf(" "); space >= 0; space = text.indexOf(" ", space + 1)) {
    const names = [text.slice(0, space), text.slice(space + 1)] as const;
    if (names[0] === names[1] || (behind(names[0]) !== "" && behind(names[0]) === behind(names[1])))
      return names;
  }
  return undefined;
}

function behind(name: ByteString): ByteString {
  return name.slice(name.indexOf("/") + 1);
}

// git's own, and those of diff.mnemonicPrefix: index, work tree, commit, object.
const PREFIXES: ReadonlySet<string> = new Set(["a/b/", "i/w/", "c/i/", "c/w/", "o/w/"]);

/**
 * Both names without `a/` and `b/`, which stand for nothing, where both sides have them; undefined is /dev/null. The
 * `diff --git` line tells a file in a directory `b` from a prefix.
 */
export function withoutPrefixes(
  before: ByteString | undefined,
  after: ByteString | undefined,
  gitLine: readonly [ByteString, ByteString] | undefined,
): readonly [ByteString | undefined, ByteString | undefined] {
  const prefixes = gitLine === undefined ? prefixesOf(before ?? "a/", after ?? "b/") : prefixesOf(...gitLine);
  const alone = before === undefined || after === undefined;
  const known = PREFIXES.has(prefixes) && (gitLine !== undefined || !alone || prefixes === "a/b/");
  // A pair of lines may lack the prefixes that the first line has.
  if (!known || !PREFIXES.has(prefixesOf(before ?? prefixes.slice(0, 2), after ?? prefixes.slice(2)))) {
    return [before, after];
  }
  return [before?.slice(2), after?.slice(2)];
}

function prefixesOf(before: ByteString, after: ByteString): string {
  return before.slice(0, 2) + after.slice(0, 2);
}

const PATH_BYTES = 4095;
const COMPONENT_BYTES = 255;

/**
 * A path that a patch may name: relative to the workspace, nothing that leads out of it, nothing in `.git`.
 * @throws {PyroError} PATCH_INVALID
 */
export function checkName(name: ByteString, line: number): ByteString {
  const path = name.startsWith("./") ? name.slice(2) : name;
  const problem = problemOf(path);
  if (problem === undefined) return path;
  const inside = /^\/+workspace\/+(.+)$/.exec(path)?.[1];
  throw invalidPatch(
    line,
    name,
    problem,
    inside === undefined
      ? "name files relative to /workspace, such as a/src/main.py"
      : `name it relative to /workspace: ${inside}`,
  );
}

function problemOf(path: ByteString): string | undefined {
  if (path === "") return "a file name is missing";
  if (path.includes("\0")) return "a file name holds a NUL byte";
  if (path.startsWith("/")) return "absolute paths are refused";
  if (path.length > PATH_BYTES) return `a path has at most ${PATH_BYTES} bytes`;
  for (const component of path.split("/")) {
    if (component === "..") return 'a path with ".." is refused';
    if (component === "" || component === ".") return "a path with an empty component is refused";
    if (component.toLowerCase() === ".git") return "a path inside .git is refused";
    if (component.length > COMPONENT_BYTES) return `a file name has at most ${COMPONENT_BYTES} bytes`;
  }
  return undefined;
}
