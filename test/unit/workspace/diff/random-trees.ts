import type { ChangedPath, DiffContents, EntryState } from "../../../../src/workspace/diff/index.js";
import { sha256, type MemoryFile } from "../patch/memory-tree.js";

/** mulberry32: a small generator that a printed seed repeats. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return Math.floor((((value ^ (value >>> 14)) >>> 0) / 4294967296) * below);
  };
}

export type Files = Map<string, MemoryFile>;

// Bytes, not text: "\xff" is one byte, which is no UTF-8.
const NAMES = [
  "plain.txt",
  "with space.txt",
  " leading",
  "trailing ",
  'quo"te',
  "back\\slash",
  "tab\there",
  "new\nline",
  "caf\xc3\xa9.txt",
  "latin1-\xe9",
  "rtl-\xe2\x80\xae.txt",
  "-dash",
  "b/x",
  "a/b/a",
  "dev/null",
  "src/deep/er/file.ts",
  "src/x.orig",
  "diff --git",
];
const LINES = [
  "",
  "}",
  "  return 1;",
  "-- a/x",
  "++ b/x",
  "@@ -1 +1 @@",
  "\\ No newline",
  "# remark",
  " ",
  "\t",
  "x\r",
  "\r",
  "\xff\xfe",
  "caf\xc3\xa9",
  "--- a/f",
  "+++ b/f",
  "diff --git a/x b/x",
  "```",
];

function randomLine(random: (below: number) => number): string {
  return random(3) === 0 ? (LINES[random(LINES.length)] ?? "") : `line ${random(12)}`;
}

function randomContent(random: (below: number) => number): string {
  const count = random(6) === 0 ? 0 : random(40);
  const ending = random(4) === 0 ? "\r\n" : "\n";
  const lines = Array.from({ length: count }, () => randomLine(random));
  const text = lines.map((line) => line + ending).join("");
  return random(4) === 0 ? text.replace(/\r?\n$/, "") : text;
}

function editContent(content: string, random: (below: number) => number): string {
  const lines = content.split("\n");
  for (let edit = random(5); edit >= 0; edit--) {
    const at = random(lines.length + 1);
    const what = random(3);
    if (what === 0) lines.splice(at, random(3) + 1);
    else lines.splice(at, what === 1 ? 0 : 1, randomLine(random));
  }
  return lines.join("\n");
}

/** Two trees of text files: edited, added, deleted, renamed, made executable. */
export function randomTrees(seed: number): { before: Files; after: Files } {
  const random = randomFrom(seed);
  const before: Files = new Map();
  const after: Files = new Map();
  const mode = (): number => (random(5) === 0 ? 0o755 : 0o644);
  const free = NAMES.filter(() => random(3) > 0);
  for (const path of NAMES) {
    const file = { content: randomContent(random), mode: mode() };
    if (!free.includes(path)) continue;
    const fate = random(7);
    if (fate > 0) before.set(path, file);
    if (fate === 0 || fate === 1) after.set(path, file);
    if (fate === 2 && file.content !== "") after.set(`moved/${path}`, { ...file, mode: mode() });
    if (fate >= 4) after.set(path, { content: editContent(file.content, random), mode: mode() });
  }
  return { before, after };
}

/** What the guest would report. */
export function changesBetween(before: Files, after: Files): ChangedPath[] {
  const changes: ChangedPath[] = [];
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    const [old, now] = [before.get(path), after.get(path)];
    if (old?.content === now?.content && old?.mode === now?.mode) continue;
    changes.push({
      path: Buffer.from(path, "latin1"),
      modeOnly: old?.content === now?.content,
      ...(old === undefined ? {} : { before: stateOf(old), beforeSha256: sha256(old.content) }),
      ...(now === undefined ? {} : { after: stateOf(now), afterSha256: sha256(now.content) }),
    });
  }
  return changes;
}

function stateOf(file: MemoryFile): EntryState {
  return { type: "file", sizeBytes: file.content.length, mode: file.mode };
}

export function contentsOf(before: Files, after: Files): DiffContents & { readonly seen: string[] } {
  const seen: string[] = [];
  return {
    seen,
    read: (side, path, maxBytes) => {
      const key = Buffer.from(path).toString("latin1");
      seen.push(`${side} ${key} ${maxBytes}`);
      const file = (side === "before" ? before : after).get(key);
      if (file === undefined) throw new Error(`nothing at ${key} ${side}`);
      return Promise.resolve(Buffer.from(file.content, "latin1").subarray(0, maxBytes));
    },
  };
}

export async function patchOf(parts: AsyncIterable<{ readonly patch: Uint8Array }>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part.patch);
  return Buffer.concat(all);
}
