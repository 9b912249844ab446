import { parse, TomlError } from "smol-toml";
import { isDeepStrictEqual } from "node:util";
import { configInvalid, notWritable } from "./config-file.js";

/** A TOML table of a configuration. */
export type TomlTable = Readonly<Record<string, unknown>>;

export function isTomlTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/**
 * The table that a configuration is.
 * @throws {PyroError} HOST_CONFIG_INVALID with line, column and the fix
 */
export function parseToml(path: string, text: string): TomlTable {
  try {
    return parse(text, { integersAsBigInt: "asNeeded" });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const { line, column } = error;
    const says = (error.message.split("\n")[0] ?? "").replace("Invalid TOML document: ", "");
    throw configInvalid(path, {
      ...{ line, column },
      says: `it is not valid TOML: ${says}`,
      fix: `mend line ${line} of ${path}, column ${column}: ${says}`,
    });
  }
}

/** A value as TOML: texts and lists of texts, true and false, numbers. */
export function toToml(value: string | boolean | number | readonly string[]): string {
  if (typeof value === "object") return `[${value.map(toToml).join(", ")}]`;
  // What JSON escapes, TOML escapes alike; only DEL stands bare in JSON.
  return JSON.stringify(value).replaceAll("\u007f", "\\u007F");
}

/** Keys of a table and their values as TOML, in order. */
export type TomlKeys = Readonly<Record<string, string>>;

/** Adds a table at the end; every byte before it stays. */
export function appendTable(path: string, text: string, name: readonly string[], keys: TomlKeys): string {
  const eol = lineEnd(text);
  const gap = text === "" ? "" : text.endsWith("\n") ? eol : eol + eol;
  const lines = Object.entries(keys).map(([key, value]) => `${key} = ${value}`);
  const edited = `${text}${gap}${[`[${name.join(".")}]`, ...lines].join(eol)}${eol}`;
  return requireOnly(path, text, edited, name);
}

/**
 * Sets keys of a table that has a header of its own; every byte of other lines stays, and the comment behind a value.
 * @throws {PyroError} HOST_CONFIG_NOT_WRITABLE where the table is written in another way
 */
export function setTableKeys(path: string, text: string, name: readonly string[], keys: TomlKeys): string {
  const lines = text.split("\n");
  const header = lines.findIndex((line) => headerOf(name).test(line));
  if (header < 0) throw byHand(path, name);
  const statements = statementsAfter(lines, header);
  const replaced = new Map<number, { readonly to: number; readonly line: string }>();
  const added: string[] = [];
  const carriage = lines[header]?.endsWith("\r") === true ? "\r" : "";
  for (const [key, value] of Object.entries(keys)) {
    const there = statements.find((statement) => statement.key === key);
    if (there === undefined) added.push(`${key} = ${value}${carriage}`);
    else
      replaced.set(there.from, {
        to: there.to,
        line: `${there.indentation}${key} = ${value}${there.comment}${carriage}`,
      });
  }
  // Behind the table's last key: what follows may be a comment on the next table.
  const end = statements.at(-1)?.to ?? header + 1;
  const edited: string[] = [];
  for (let at = 0; at <= lines.length; at++) {
    if (at === end) edited.push(...added);
    const change = replaced.get(at);
    if (at < lines.length) edited.push(change?.line ?? lines[at] ?? "");
    if (change !== undefined) at = change.to - 1;
  }
  return requireOnly(path, text, edited.join("\n"), name);
}

interface Statement {
  readonly key: string;
  /** Its first line, and the one behind its last. */
  readonly from: number;
  readonly to: number;
  readonly indentation: string;
  /** Behind its value, with the blanks before it. */
  readonly comment: string;
}

/** The keys below a header, up to the next one. A value may have several lines: it ends where the lines are TOML. */
function statementsAfter(lines: readonly string[], header: number): Statement[] {
  const statements: Statement[] = [];
  for (let from = header + 1; from < lines.length; from++) {
    const line = lines[from] ?? "";
    if (/^\s*(#|$)/.test(line)) continue;
    if (/^\s*\[/.test(line)) break;
    let to = from + 1;
    while (to <= lines.length && tableOf(lines.slice(from, to)) === undefined) to++;
    const [key] = Object.keys(tableOf(lines.slice(from, to)) ?? {});
    if (key === undefined) break;
    const indentation = /^\s*/.exec(line)?.[0] ?? "";
    statements.push({ key, from, to, indentation, comment: commentOf(lines.slice(from, to)) });
    from = to - 1;
  }
  return statements;
}

/** The comment behind the last line of a statement: what begins with the first # that the value does not need. */
function commentOf(lines: readonly string[]): string {
  const whole = lines.join("\n").replace(/\r$/, "");
  const lastLine = whole.lastIndexOf("\n") + 1;
  for (let at = whole.indexOf("#", lastLine); at >= 0; at = whole.indexOf("#", at + 1)) {
    const value = whole.slice(0, at);
    if (tableOf([value]) !== undefined) return whole.slice(value.trimEnd().length);
  }
  return "";
}

function tableOf(lines: readonly string[]): TomlTable | undefined {
  try {
    // A carriage return ends a line only before a newline.
    return parse(`${lines.join("\n")}\n`, { integersAsBigInt: "asNeeded" });
  } catch {
    return undefined;
  }
}

/** The header of a table; its parts may be quoted and spaced. */
function headerOf(name: readonly string[]): RegExp {
  const parts = name.map((part) => `\\s*(?:${part}|"${part}"|'${part}')\\s*`);
  return new RegExp(`^\\s*\\[${parts.join("\\.")}\\]\\s*(?:#.*)?$`);
}

/** The edit, if nothing but the named table means something else than before. @throws {PyroError} HOST_CONFIG_NOT_WRITABLE */
function requireOnly(path: string, before: string, after: string, name: readonly string[]): string {
  const rest = (text: string): unknown => {
    const table = tableOf([text]);
    return table === undefined ? text : without(table, name);
  };
  if (tableOf([after]) === undefined || !isDeepStrictEqual(rest(before), rest(after)))
    throw byHand(path, name);
  return after;
}

/** A table without a table inside of it, and without those that then are empty on the way. */
function without(table: TomlTable, [first, ...rest]: readonly string[]): TomlTable {
  if (first === undefined) return table;
  const { [first]: inner, ...others } = table;
  if (rest.length === 0 || !isTomlTable(inner)) return others;
  const left = without(inner, rest);
  return Object.keys(left).length === 0 ? others : { ...others, [first]: left };
}

function byHand(path: string, name: readonly string[]): Error {
  return notWritable(
    path,
    `has no place where [${name.join(".")}] can be set without touching the rest`,
    "set it by hand: `pyro host print-config codex` shows what it has to be",
  );
}

function lineEnd(text: string): string {
  return text.includes("\r\n") ? "\r\n" : "\n";
}
