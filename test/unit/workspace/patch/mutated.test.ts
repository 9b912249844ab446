import { expect, it } from "vitest";
import { PyroError } from "../../../../src/protocol/index.js";
import { diffFiles } from "../../../../src/workspace/diff/index.js";
import { applyPatch } from "../../../../src/workspace/patch/index.js";
import { changesBetween, contentsOf, patchOf, randomFrom, randomTrees } from "../diff/random-trees.js";
import { MemoryTree } from "./memory-tree.js";

const FIRST_SEED = Number(process.env["SEED"] ?? Date.now() % 1_000_000);

/** A patch as damage on the way, or a careless writer, would leave it. */
function mutate(patch: string, random: (below: number) => number): string {
  const lines = patch.split("\n");
  for (let edit = random(4); edit >= 0; edit--) {
    const at = random(lines.length);
    const line = lines[at] ?? "";
    const other = lines[random(lines.length)] ?? "";
    const forms = [
      () => lines.splice(at, 1),
      () => lines.splice(at, 0, other),
      () => lines.splice(at, 1, line.slice(0, random(line.length + 1))),
      () => lines.splice(at, 1, line.replace(/\d+/, String(random(100)))),
      () => lines.splice(at, 1, line.trim()),
      () => lines.splice(at, 1, String.fromCharCode(32 + random(200)) + line.slice(1)),
      () => lines.splice(at, 1, `${line}\r`),
      () => lines.splice(at, lines.length),
    ];
    forms[random(forms.length)]?.();
  }
  return lines.join("\n");
}

it("applies or refuses whatever it is given, by name, and changes nothing when it refuses", async () => {
  const outcomes = { applied: 0, PATCH_INVALID: 0, PATCH_DOES_NOT_APPLY: 0 };
  for (let seed = FIRST_SEED; seed < FIRST_SEED + 300; seed++) {
    const { before, after } = randomTrees(seed);
    const patch = await patchOf(diffFiles(changesBetween(before, after), contentsOf(before, after)));
    const mutated = mutate(Buffer.from(patch).toString("latin1"), randomFrom(seed));
    const tree = new MemoryTree(Object.fromEntries(before));
    try {
      tree.commit((await applyPatch(Buffer.from(mutated, "latin1"), tree)).changes);
      outcomes.applied++;
    } catch (error) {
      if (!(error instanceof PyroError)) throw new Error(`SEED=${seed}\n${mutated}`, { cause: error });
      expect(Object.keys(outcomes), `SEED=${seed}`).toContain(error.code);
      expect(error.hint.length).toBeLessThan(10_000);
      outcomes[error.code as keyof typeof outcomes]++;
    }
  }
  // The damage is of every kind.
  expect(Math.min(...Object.values(outcomes)), JSON.stringify(outcomes)).toBeGreaterThan(2);
});
