import { mkdir, mkdtemp, open, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { complete } from "../src/kit/index.js";

/** What workspaces are filled with: a tree of many small files, the same as a tar in a directory, one large file. */
export interface Fixtures extends AsyncDisposable {
  readonly tree: string;
  /** A directory with nothing but `tree.tar`. */
  readonly packed: string;
  /** A directory with nothing but `large`. */
  readonly large: string;
  readonly fileCount: number;
  readonly treeBytes: number;
  readonly largeBytes: number;
}

const FILES_PER_DIRECTORY = 100;
const CHANGED = 20;

/** `fileCount` files of 0.3 KB in directories of a hundred; `largeBytes` that nothing can compress. */
export async function makeFixtures(parent: string, fileCount: number, largeBytes: number): Promise<Fixtures> {
  const directory = await mkdtemp(join(parent, "seeds-"));
  const [tree, packed, large] = ["tree", "packed", "one"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const each of [tree, packed, large]) await mkdir(each);
  let treeBytes = 0;
  for (let index = 0; index < fileCount; index += 1) {
    const path = join(tree, fileAt(index));
    if (index % FILES_PER_DIRECTORY === 0) await mkdir(join(path, ".."));
    const text = linesOf(index).join("");
    treeBytes += text.length;
    await writeFile(path, text);
  }
  await complete("tar", ["-cf", join(packed, "tree.tar"), "-C", tree, ...(await readdir(tree))]);
  await writeLarge(join(large, "large"), largeBytes);
  return {
    ...{ tree, packed, large, fileCount, treeBytes, largeBytes },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/** Where a file of the tree is. */
function fileAt(index: number): string {
  return join(`part-${Math.floor(index / FILES_PER_DIRECTORY)}`, `file-${index}.txt`);
}

/** What is in it: 13 lines, 300 bytes or a little more. */
function linesOf(index: number): string[] {
  return Array.from({ length: 13 }, (_, line) => `line ${line} of the file ${index}\n`);
}

async function writeLarge(path: string, bytes: number): Promise<void> {
  await using file = await open(path, "w");
  // Each MiB differs from the last one, and none holds a page of zeros.
  const part = Buffer.alloc(1024 * 1024);
  for (let at = 0, state = 1; at < bytes; at += part.length) {
    for (let index = 0; index < part.length; index += 4) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      part.writeUInt32LE(state, index);
    }
    await file.write(part, 0, Math.min(part.length, bytes - at));
  }
}

/** Files of the tree, far from each other. */
function scattered({ fileCount }: Fixtures): number[] {
  return Array.from({ length: CHANGED }, (_, index) => Math.floor((index * fileCount) / CHANGED));
}

/** A shell line that changes twenty files of the tree below its working directory. */
export function changingCommand(fixtures: Fixtures): string {
  const paths = scattered(fixtures).map((index) => `./${fileAt(index)}`);
  return `for path in ${paths.join(" ")}; do echo changed >> $path; done`;
}

/** A patch with one hunk for each of twenty files of the tree; `turn` makes each one apply after the one before. */
export function patchOf(fixtures: Fixtures, below: string, turn: number): string {
  const line = (which: number, index: number): string =>
    which === 0 ? (linesOf(index)[1] ?? "") : `patched ${which} times\n`;
  return scattered(fixtures)
    .map((index) => {
      const path = join(below, fileAt(index));
      const [first = "", , third = ""] = linesOf(index);
      return (
        `--- a/${path}\n+++ b/${path}\n@@ -1,3 +1,3 @@\n` +
        ` ${first}-${line(turn, index)}+${line(turn + 1, index)} ${third}`
      );
    })
    .join("");
}
