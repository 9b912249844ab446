import { shown } from "./problem.js";

/** Values in their order, by lower-case name. */
export type Headers = ReadonlyMap<string, readonly string[]>;

/** Servers take about as many; each line may come by itself, and is then read with all before it. */
const LINES_MAX = 128;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\x20-\x7e\x80-\xff]*?)[\t ]*$/;

/**
 * The fields of a head up to its empty line (RFC 9112 section 5), whose characters are bytes. Undefined while the empty
 * line is missing; a text is what is wrong. A line that is wrong is told before the rest is there.
 */
export function readHeaders(text: string): Headers | string | undefined {
  const headers = new Map<string, string[]>();
  let at = 0;
  for (let count = 0; count <= LINES_MAX; count++) {
    const end = text.indexOf("\n", at);
    if (end < 0) return undefined;
    if (end === at || text[end - 1] !== "\r") return "a line ends in a bare LF";
    const line = text.slice(at, end - 1);
    at = end + 1;
    if (line === "") return headers;
    // What folds it to one servers add to the line before, others drop, others take for a field.
    if (/^[\t ]/.test(line)) return "a folded header line";
    const match = FIELD.exec(line);
    if (match === null) return `${shown(line)} is no header line`;
    const [, name = "", value = ""] = match;
    const values = headers.get(name.toLowerCase()) ?? [];
    values.push(value);
    headers.set(name.toLowerCase(), values);
  }
  return `more than ${LINES_MAX} header lines`;
}

/** What is wrong with how the request says where its body ends (RFC 9112 section 6): where in doubt, all of it. */
export function checkFraming(headers: Headers, isOld: boolean): string | undefined {
  const lengths = headers.get("content-length") ?? [];
  const codings = headers.get("transfer-encoding") ?? [];
  if (lengths.length > 0 && codings.length > 0) return "Content-Length beside Transfer-Encoding";
  if (lengths.length > 1) return "Content-Length is there twice";
  const [length] = lengths;
  if (length !== undefined && !/^[0-9]{1,15}$/.test(length)) return `Content-Length ${shown(length)}`;
  if (codings.length > 1) return "Transfer-Encoding is there twice";
  const [coding] = codings;
  if (coding !== undefined && coding.toLowerCase() !== "chunked") return `Transfer-Encoding ${shown(coding)}`;
  return coding !== undefined && isOld ? "Transfer-Encoding in HTTP/1.0" : undefined;
}
