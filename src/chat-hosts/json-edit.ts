import { createScanner, findNodeAtLocation, parseTree, type Node } from "jsonc-parser";
import { isDeepStrictEqual } from "node:util";
import { notWritable } from "./config-file.js";
import { isJsonObject } from "../kit/index.js";
import { parseConfig } from "./json-config.js";

/** Tokens of jsonc-parser's scanner: its `const enum` cannot be imported from a module that is compiled alone. */
const TOKEN = { comma: 5, lineBreak: 14 } as const;
/** Comments of a line, comments of a block, blanks. */
const TRIVIA: readonly number[] = [12, 13, 15];

/** One value and the keys that lead to it. */
export interface Setting {
  readonly at: readonly [string, ...string[]];
  readonly value: unknown;
}

/**
 * Sets values in JSON with comments. Text is only inserted, or replaced where a value of these stood: jsonc-parser's own
 * `modify` lays out neighbours anew, and those are other people's.
 * @throws {PyroError} HOST_CONFIG_NOT_WRITABLE
 */
export function setValues(path: string, text: string, settings: readonly Setting[]): string {
  const bare = text.trim() === "" ? `{}${lineEnd(text)}` : text;
  const edited = settings.reduce((so, { at, value }) => setValue(so, at, value), bare);
  // A key that stands twice is edited in its first place and read in its last.
  if (settings.every(({ at, value }) => isDeepStrictEqual(valueAt(path, edited, at), value))) return edited;
  const key = settings[0]?.at.join(".") ?? "";
  throw notWritable(
    path,
    `does not take a value for ${key}`,
    `look whether a part of ${key} stands twice in it`,
  );
}

function valueAt(path: string, text: string, at: readonly string[]): unknown {
  let value: unknown = parseConfig(path, text, { comments: true });
  for (const key of at) value = isJsonObject(value) ? value[key] : undefined;
  return value;
}

function setValue(text: string, at: readonly [string, ...string[]], value: unknown): string {
  const root = parseTree(text, [], { allowTrailingComma: true });
  if (root === undefined) return text;
  const there = findNodeAtLocation(root, [...at]);
  if (there !== undefined) {
    const shown = written(value, indentationAt(text, there.offset), text);
    return splice(text, there.offset, there.offset + there.length, shown);
  }
  // The deepest object on the way that exists takes the rest.
  let depth = at.length - 1;
  while (depth > 0 && findNodeAtLocation(root, at.slice(0, depth)) === undefined) depth--;
  const parent = depth === 0 ? root : findNodeAtLocation(root, at.slice(0, depth));
  const [key, ...rest] = at.slice(depth);
  if (parent?.type !== "object" || key === undefined) return text;
  const nested = rest.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
  return insertProperty(text, parent, key, nested);
}

/** Adds a property behind the others of an object, in the object's own manner. */
function insertProperty(text: string, object: Node, key: string, value: unknown): string {
  const eol = lineEnd(text);
  const outer = indentationAt(text, object.offset);
  const last = object.children?.at(-1);
  const start = last === undefined ? object.offset + 1 : last.offset + last.length;
  const gap = gapAfter(text, start);
  const first = object.children?.[0];
  const ownLine = first !== undefined && /^\s*$/.test(lineBefore(text, first.offset));
  const inner = first !== undefined && ownLine ? lineBefore(text, first.offset) : outer + unitOf(text);
  const property = (indentation: string): string =>
    `${JSON.stringify(key)}: ${written(value, indentation, text)}`;
  const comma = last === undefined || gap.hasComma ? "" : ",";
  if (gap.endsLine) {
    const line = `${eol}${inner}${property(inner)}${gap.hasComma ? "," : ""}`;
    return splice(splice(text, gap.end, gap.end, line), start, start, comma);
  }
  if (last === undefined) return splice(text, start, start, `${eol}${inner}${property(inner)}${eol}${outer}`);
  return splice(text, gap.commaEnd, gap.commaEnd, `${comma} ${property(outer)}`);
}

/** What stands behind a value up to the end of its line, or up to what closes the object there. */
function gapAfter(
  text: string,
  start: number,
): { end: number; commaEnd: number; hasComma: boolean; endsLine: boolean } {
  const scanner = createScanner(text, false);
  scanner.setPosition(start);
  let [hasComma, commaEnd] = [false, start];
  for (;;) {
    const token: number = scanner.scan();
    const end = scanner.getTokenOffset();
    if (token === TOKEN.comma && !hasComma) {
      hasComma = true;
      commaEnd = end + 1;
    } else if (token === TOKEN.lineBreak) return { end, commaEnd, hasComma, endsLine: true };
    else if (!TRIVIA.includes(token)) return { end, commaEnd, hasComma, endsLine: false };
  }
}

/** A value as text; objects have a line for each of their keys, lists one line. */
function written(value: unknown, indentation: string, text: string): string {
  if (Array.isArray(value)) return `[${value.map((item) => JSON.stringify(item)).join(", ")}]`;
  if (!isJsonObject(value)) return JSON.stringify(value);
  const inner = indentation + unitOf(text);
  const lines = Object.entries(value).map(
    ([key, item]) => `${inner}${JSON.stringify(key)}: ${written(item, inner, text)}`,
  );
  const eol = lineEnd(text);
  return `{${eol}${lines.join(`,${eol}`)}${eol}${indentation}}`;
}

function splice(text: string, from: number, to: number, by: string): string {
  return text.slice(0, from) + by + text.slice(to);
}

function lineEnd(text: string): string {
  return text.includes("\r\n") ? "\r\n" : "\n";
}

/** The file's own step of indentation: that of its first indented line. */
function unitOf(text: string): string {
  return /^([ \t]+)["/}\]]/m.exec(text)?.[1] ?? "  ";
}

function lineBefore(text: string, offset: number): string {
  return text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset);
}

/** The indentation of the line on which a place is. */
function indentationAt(text: string, offset: number): string {
  return /^[ \t]*/.exec(lineBefore(text, offset))?.[0] ?? "";
}
