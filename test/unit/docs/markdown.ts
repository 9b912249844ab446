import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export const ROOT = join(import.meta.dirname, "../../..");

/** One fenced block of a page. */
export interface Block {
  /** Relative to the checkout's top. */
  readonly page: string;
  /** Of the fence's first line. */
  readonly line: number;
  /** First word behind the fence: "sh", "ts", or "" where there is none; "indented" of a block without fences. */
  readonly language: string;
  readonly text: string;
}

/** All pages that tell users and developers what to type. */
export async function pages(): Promise<readonly string[]> {
  const own = ["README.md", "CONTRIBUTING.md", "SECURITY.md"];
  const found = await Promise.all([markdownBelow("docs"), markdownBelow("examples")]);
  return [...own, ...found.flat()].sort();
}

async function markdownBelow(folder: string): Promise<string[]> {
  const entries = await readdir(join(ROOT, folder), { withFileTypes: true }).catch(() => []);
  const inner = entries.map(async (entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory())
      return entry.name === "node_modules" || entry.name.startsWith(".") ? [] : await markdownBelow(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
  return (await Promise.all(inner)).flat();
}

/** The fenced blocks of a page, in order. */
async function blocksOf(page: string): Promise<readonly Block[]> {
  const lines = (await readFile(join(ROOT, page), "utf8")).split("\n");
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at++) {
    const fence = /^(\s*)(`{3,}|~{3,})\s*([\w-]*)/.exec(lines[at] ?? "");
    if (fence === null) {
      const isBlock = (lines[at] ?? "").startsWith("    ") && (lines[at - 1] ?? "") === "";
      if (!isBlock) continue;
      const line = at + 1;
      const text: string[] = [];
      while ((lines[at] ?? "").startsWith("    ")) text.push((lines[at++] ?? "").slice(4));
      blocks.push({ page, line, language: "indented", text: text.join("\n") });
      continue;
    }
    const [, indent = "", mark = "", language = ""] = fence;
    const start = at + 1;
    const text: string[] = [];
    while (++at < lines.length && !(lines[at] ?? "").startsWith(indent + mark))
      text.push((lines[at] ?? "").slice(indent.length));
    blocks.push({ page, line: start, language, text: text.join("\n") });
  }
  return blocks;
}

/** Every block of every page. */
export async function allBlocks(): Promise<readonly Block[]> {
  return (await Promise.all((await pages()).map(blocksOf))).flat();
}
