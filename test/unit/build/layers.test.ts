import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { LayerCache } from "../../../src/build/layers.js";

const KEY = "a".repeat(64);
let directory: string;
let layers: LayerCache;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-layers-test-"));
  layers = new LayerCache(join(directory, "layers"));
  await writeFile(join(directory, "step.qcow2"), "what the step wrote");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

it("A layer is found over what it was made on, and over nothing else", async () => {
  const path = await layers.keep(KEY, join(directory, "step.qcow2"), "/below");
  expect(await layers.find(KEY, "/below")).toBe(path);
  expect(await layers.find(KEY, "/other")).toBeUndefined();
});

it("A layer whose record cannot be written leaves nothing", async () => {
  // Stands in the record's way, as a full disk does.
  await mkdir(join(directory, "layers", `${KEY}.json`), { recursive: true });
  await expect(layers.keep(KEY, join(directory, "step.qcow2"), "/below")).rejects.toThrow();
  expect(await readdir(join(directory, "layers"))).toEqual([`${KEY}.json`]);
});
