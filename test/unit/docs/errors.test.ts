import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";
import { ERROR_CODES, type ErrorCode } from "../../../src/protocol/index.js";
import { ROOT } from "./markdown.js";

const PAGE =
  /^# ([A-Z_]+)\n\n[^\n]{30,}\n\n\*\*Retryable:\*\* (yes|no|sometimes): [^\n]+\n\n## Usual causes\n\n(- [^\n]+\n)+\n## What to type\n\n```sh\n([^`\n]+\n)+```\n/;

/** Made of a code that another place chose: the page says what was read there. */
const CHOSEN_ELSEWHERE: Readonly<Partial<Record<ErrorCode, string>>> = {
  // src/vmm/boot.ts throws what made a boot fail, always as retryable.
  VM_BOOT_TIMEOUT: "yes",
  // src/oci/transport-errors.ts: a name that does not exist is not retryable, a connection that failed is.
  REGISTRY_UNREACHABLE: "sometimes",
};

const pageOf = (code: string): Promise<string> => readFile(join(ROOT, "docs/errors", `${code}.md`), "utf8");

test("every error code has a page, and every page a code", async () => {
  const names = (await readdir(join(ROOT, "docs/errors"))).filter((name) => name !== "index.md");
  expect(names.sort()).toEqual(ERROR_CODES.map((code) => `${code}.md`).sort());
});

test.each(ERROR_CODES)("the page of %s says what it means, why it comes and what to type", async (code) => {
  const [, title] = PAGE.exec(await pageOf(code)) ?? [];
  expect(title).toBe(code);
});

test("the index links every page, in the order of the codes", async () => {
  const index = await readFile(join(ROOT, "docs/troubleshooting.md"), "utf8");
  const linked = [...index.matchAll(/^\| \[([A-Z_]+)\]\(errors\/\1\.md\) \| .+ \|$/gm)].map(
    ([, code]) => code,
  );
  expect(linked).toEqual([...ERROR_CODES]);
});

test("what a page says of retrying is what the program says where it makes the error", async () => {
  const found = await retryableInSources();
  const wrong: string[] = [];
  for (const code of ERROR_CODES) {
    const said = /^\*\*Retryable:\*\* (\w+)/m.exec(await pageOf(code))?.[1];
    const seen = found.get(code);
    const expected = CHOSEN_ELSEWHERE[code] ?? retryableOf(seen);
    if (said !== expected) wrong.push(`${code}: the page says ${said ?? "nothing"}, the sources ${expected}`);
  }
  expect(wrong).toEqual([]);
});

function retryableOf(seen: ReadonlySet<boolean> | undefined): string {
  // The agent's own errors are never retryable: its protocol has no such field.
  if (seen === undefined) return "no";
  return seen.size > 1 ? "sometimes" : seen.has(true) ? "yes" : "no";
}

/** For each code whether errors that are made with it say that they are retryable; both where some do. */
async function retryableInSources(): Promise<Map<ErrorCode, Set<boolean>>> {
  const found = new Map<ErrorCode, Set<boolean>>();
  const note = (code: string, values: readonly boolean[]): void => {
    const known = ERROR_CODES.find((one) => one === code);
    if (known === undefined) return;
    const set = found.get(known) ?? new Set();
    values.forEach((value) => set.add(value));
    found.set(known, set);
  };
  for (const path of await sources(join(ROOT, "src"))) {
    const source = ts.createSourceFile(path, await readFile(path, "utf8"), ts.ScriptTarget.Latest, true);
    const visit = (node: ts.Node): void => {
      const code = codeOf(node);
      for (const one of code) note(one, retryableIn(node.getText()));
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return found;
}

/** The codes of `new PyroError(code, …)`, of `{ code, … }` with a retryable, and of `this.#fail(code, …)` of a boot. */
function codeOf(node: ts.Node): readonly string[] {
  const literals = (argument: ts.Node | undefined): string[] => {
    if (argument === undefined) return [];
    if (ts.isStringLiteral(argument)) return [argument.text];
    if (ts.isConditionalExpression(argument))
      return [...literals(argument.whenTrue), ...literals(argument.whenFalse)];
    return [];
  };
  if (ts.isNewExpression(node) && node.expression.getText() === "PyroError")
    return literals(node.arguments?.[0]);
  if (ts.isObjectLiteralExpression(node) && /\bretryable\b/.test(node.getText())) {
    const named = node.properties
      .filter(ts.isPropertyAssignment)
      .find(({ name }) => name.getText() === "code");
    return literals(named?.initializer);
  }
  return [];
}

/** A literal value, both for a computed one, and false where nothing is said. */
function retryableIn(text: string): readonly boolean[] {
  const [, value] = /\bretryable(?:: (\w+))?/.exec(text) ?? [text];
  if (!/\bretryable\b/.test(text)) return [false];
  return value === "true" ? [true] : value === "false" ? [false] : [true, false];
}

async function sources(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const inner = entries.map(async (entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === "gen" ? [] : await sources(path);
    return entry.name.endsWith(".ts") ? [path] : [];
  });
  return (await Promise.all(inner)).flat();
}
