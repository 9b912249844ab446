import { isUtf8 } from "node:buffer";
import { bytesOf, textOf, type ByteString } from "../../kit/index.js";

const ESCAPES: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\t": "\\t",
  "\n": "\\n",
  "\v": "\\v",
  "\f": "\\f",
  "\r": "\\r",
  '"': '\\"',
  "\\": "\\\\",
};

/** Control, invisible, reordering and unassigned characters, and spaces that are not the plain one. */
const UNSEEN = /[\p{C}\p{Z}]/u;

/**
 * A name as git quotes it with core.quotePath off: plain where it can be read plainly, else as a C string. Names that
 * are not UTF-8, or hold what nobody sees, have all their bytes beyond ASCII in octal.
 */
export function quoteName(name: ByteString): ByteString {
  const unseen = !isUtf8(bytesOf(name)) || UNSEEN.test(textOf(name).replaceAll(" ", ""));
  if (!unseen && !/["\\]/.test(name)) return name;
  const quoted = name.replace(unseen ? /[^ !#-[\]-~]/g : /["\\]/g, (char) => {
    return ESCAPES[char] ?? `\\${char.charCodeAt(0).toString(8).padStart(3, "0")}`;
  });
  return `"${quoted}"`;
}

/** The name on a `---` or `+++` line: a tab ends one with spaces, as git writes it. */
export function quoteFileLine(name: ByteString): ByteString {
  const quoted = quoteName(name);
  return quoted === name && name.includes(" ") ? `${quoted}\t` : quoted;
}
