import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const SOURCE = join(import.meta.dirname, "../src");

/** The names of all failpoints in the source, in the order of its files. */
export const FAILPOINTS: readonly string[] = readdirSync(SOURCE, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts") && !path.startsWith("protocol/gen/"))
  .sort()
  .flatMap((path) => [...readFileSync(join(SOURCE, path), "utf8").matchAll(/\bfailpoint\(\s*([^)]*?)\s*\)/g)])
  .map(([, argument = ""]) => argument)
  // Its own declaration.
  .filter((argument) => argument !== "name: string")
  .map((argument) => /^"([a-z]+\.[a-z-]+)"$/.exec(argument)?.[1] ?? `not a literal: ${argument}`);

/** The part of a failpoint's name that says which call passes through it. */
export function prefixOf(failpoint: string): string {
  return failpoint.split(".")[0] ?? "";
}
