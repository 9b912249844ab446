import { expect } from "vitest";
import { PyroError } from "../../../../src/protocol/index.js";
import { applyPatch, type Failure } from "../../../../src/workspace/patch/index.js";
import type { MemoryTree } from "./memory-tree.js";

export const BODY = ["@@ -1 +1 @@", "-1", "+2"];
export const plain = (before: string, after = before): string[] => [`--- ${before}`, `+++ ${after}`, ...BODY];

/** What applying throws; nothing may have changed. */
export async function errorOf(
  patch: readonly string[] | string | Uint8Array,
  tree: MemoryTree,
): Promise<PyroError> {
  const text = patch instanceof Uint8Array || typeof patch === "string" ? patch : `${patch.join("\n")}\n`;
  const before = tree.snapshot();
  const thrown = await applyPatch(text, tree).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(tree.snapshot()).toEqual(before);
  if (!(thrown instanceof PyroError)) throw new Error(`no PyroError: ${String(thrown)}`);
  expect(thrown.hint).not.toBe("");
  return thrown;
}

export const failuresOf = (error: PyroError): readonly Failure[] =>
  error.details["failures"] as readonly Failure[];
