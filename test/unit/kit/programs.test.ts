import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { findProgram, isExecutable, searchPath } from "../../../src/kit/index.js";

let place: string;
beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), "pyro-programs-"));
  for (const name of ["a", "b"]) await mkdir(join(place, name));
});
afterEach(() => rm(place, { recursive: true }));

async function program(path: string, mode = 0o755): Promise<string> {
  await writeFile(join(place, path), "");
  await chmod(join(place, path), mode);
  return join(place, path);
}

it("finds the first program of a name in the order of PATH", async () => {
  await program("b/tool");
  expect(await findProgram("tool", searchPath(`${place}/a:${place}/b`))).toBe(join(place, "b/tool"));
  await program("a/tool");
  expect(await findProgram("tool", searchPath(`${place}/a:${place}/b`))).toBe(join(place, "a/tool"));
  expect(await findProgram("other", searchPath(`${place}/a:${place}/b`))).toBeUndefined();
});

it("passes over directories, and files that may not be started", async () => {
  await mkdir(join(place, "a/tool"));
  expect(await findProgram("tool", [join(place, "a")])).toBeUndefined();
  expect(await isExecutable(await program("b/tool", 0o644))).toBe(false);
});

it("never looks where one stands", () => {
  expect(searchPath(`:.:${relative(process.cwd(), place)}:${place}:`)).toEqual([place]);
  expect(searchPath(undefined)).toEqual([]);
});
