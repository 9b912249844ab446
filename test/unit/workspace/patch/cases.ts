import { expect, it } from "vitest";
import { applyPatch } from "../../../../src/workspace/patch/index.js";
import { MemoryTree, type MemoryFiles } from "./memory-tree.js";

/** A patch that is taken. */
export interface Case {
  readonly title: string;
  readonly files: MemoryFiles;
  /** One line of the patch each; joined with LF and ended by one, unless it is a whole text. */
  readonly patch: readonly string[] | string;
  /** The tree afterwards; executable files as "path 755". */
  readonly becomes: Readonly<Record<string, string>>;
}

export function takes(cases: readonly Case[]): void {
  it.each(cases)("$title", async ({ files, patch, becomes }) => {
    const tree = new MemoryTree(files);
    const text = typeof patch === "string" ? patch : `${patch.join("\n")}\n`;
    const plan = await applyPatch(text, tree);
    tree.commit(plan.changes);
    expect(tree.snapshot()).toEqual(becomes);
    expect(plan.result.changed).toBe(true);
  });
}
