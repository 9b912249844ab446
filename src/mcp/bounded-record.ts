import { toGuestText } from "./guest-text.js";
import { toolHint } from "./tool-hint.js";

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonRecord = Readonly<Record<string, unknown>>;

/** A list in a record that may be long, by its path, and which end of it matters. */
export interface LongList {
  readonly path: readonly string[];
  readonly keep: "first" | "last";
}

/** Longest text in a record, in characters: commands may be long. */
const STRING_CHARS = 1_000;

/** A record for a model: what a guest wrote into it is safe to show, and no text is long. */
export function safeRecord<T>(value: T): T {
  return safe(value as Json) as T;
}

function safe(value: Json): Json {
  if (typeof value === "string") {
    const { text } = toGuestText(Buffer.from(value.slice(0, STRING_CHARS)));
    return value.length > STRING_CHARS ? `${text}… (cut)` : text;
  }
  if (Array.isArray(value)) return value.map((item) => safe(item as Json));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      // The hint of an error inside of a record speaks of the command line, as each hint does.
      const said = key === "hint" && typeof inner === "string" ? toolHint({ hint: inner }) : inner;
      return [safe(key) as string, safe(said)];
    }),
  );
}

/** The same with every text on one line: a file's name cannot write lines of ours. */
export function oneLine<T>(value: T): T {
  return oneLineOf(value as Json) as T;
}

function oneLineOf(value: Json): Json {
  if (typeof value === "string") return value.replaceAll("\n", "\\n");
  if (Array.isArray(value)) return value.map((item) => oneLineOf(item as Json));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, oneLineOf(inner)]));
}

/** A record that fits into a result, and how much of its lists was left out. */
export interface BoundedRecord {
  readonly record: JsonRecord;
  /** By the list's path, "changes.entries". */
  readonly omitted: Readonly<Record<string, number>>;
}

/** Shortens the lists of a record, the longest text first, until its JSON fits. */
export function boundedRecord(
  record: JsonRecord,
  lists: readonly LongList[],
  budgetBytes: number,
): BoundedRecord {
  let bounded = record;
  const omitted: Record<string, number> = {};
  while (bytesOf(bounded) > budgetBytes) {
    const sizes = lists.map((list) => ({ list, items: itemsAt(bounded, list.path) }));
    const [largest] = sizes.sort((a, b) => bytesOf(b.items) - bytesOf(a.items));
    if (largest === undefined || largest.items.length === 0) break;
    const { list, items } = largest;
    const kept = Math.floor(items.length * 0.8);
    const part = list.keep === "first" ? items.slice(0, kept) : items.slice(items.length - kept);
    const name = list.path.join(".");
    omitted[name] = (omitted[name] ?? 0) + items.length - kept;
    bounded = withItems(bounded, list.path, part);
  }
  return { record: bounded, omitted };
}

function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function itemsAt(record: JsonRecord, [key = "", ...rest]: readonly string[]): readonly unknown[] {
  const value = record[key];
  if (rest.length > 0) return itemsAt((value ?? {}) as JsonRecord, rest);
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

function withItems(
  record: JsonRecord,
  [key = "", ...rest]: readonly string[],
  items: readonly unknown[],
): JsonRecord {
  const value = rest.length > 0 ? withItems((record[key] ?? {}) as JsonRecord, rest, items) : items;
  return { ...record, [key]: value };
}
