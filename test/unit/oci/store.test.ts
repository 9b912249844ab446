import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { BlobStore, digestOf } from "../../../src/oci/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { tarOf } from "../../fakes/fake-registry.js";
import { pulling, type Pulling } from "./pulling.js";

let at: Pulling;
beforeEach(async () => {
  at = await pulling();
});
afterEach(async () => {
  await at[Symbol.asyncDispose]();
});

it("A store is one process's at a time", async () => {
  await expect(BlobStore.open(at.store.directory)).rejects.toMatchObject({
    code: "ENVIRONMENT_BUSY",
    retryable: true,
  });
  await using other = await BlobStore.open(join(at.directory, "other"));
  await other[Symbol.asyncDispose]();
  await using again = await BlobStore.open(join(at.directory, "other"));
  expect(again.directory).toBe(other.directory);
});

it("What is put has the digest that it is put under, or no place", async () => {
  const bytes = Buffer.from("x");
  await expect(at.store.put(digestOf(Buffer.from("y")), bytes)).rejects.toMatchObject({
    code: "BLOB_DIGEST_MISMATCH",
  });
  expect(await at.files("blobs/sha256")).toEqual([]);
  const path = await at.store.put(digestOf(bytes), bytes);
  expect(await at.store.find(digestOf(bytes))).toBe(path);
  expect(await at.store.read(digestOf(bytes), 1)).toEqual(bytes);
  expect(await at.store.read(digestOf(bytes), 0)).toBeUndefined();
});

it("A prune keeps what the named manifests lead to, and what can still be gone on with", async () => {
  const kept = at.registry.addImage("tool", "1", { layers: [tarOf(1), tarOf(2)] });
  at.registry.addImage("tool", "2", { layers: [tarOf(2), tarOf(3)] });
  const first = await at.pulls.pull(`${at.registry.name}/tool:1`);
  const second = await at.pulls.pull(`${at.registry.name}/tool:2`);
  const partials = join(at.store.directory, "partial");
  const old = new Date(Date.now() - LIMITS.partialBlobMs - 1000);
  for (const name of ["a".repeat(64), "b".repeat(64)]) await writeFile(join(partials, name), "part");
  await utimes(join(partials, "a".repeat(64)), old, old);
  await writeFile(
    join(at.store.directory, `blobs/sha256/${"c".repeat(64)}.0123.tmp`),
    "left by a killed put",
  );
  const before = await at.store.usage();
  expect(before).toMatchObject({ blobs: 8, partials: 2 });

  const { removed, removedPartials, freedBytes } = await at.store.prune([first.manifestDigest]);
  const gone = [second.manifestDigest, second.configDigest, second.layers[1]?.digest];
  expect([...removed].sort()).toEqual(gone.sort());
  expect(removedPartials).toBe(1);
  const after = await at.store.usage();
  expect(after).toMatchObject({ blobs: 4, partials: 1 });
  expect(before.blobBytes + before.partialBytes - after.blobBytes - after.partialBytes).toBe(freedBytes);
  expect(await readdir(partials)).toEqual(["b".repeat(64)]);
  at.registry.requests.length = 0;
  expect(await at.pulls.pull(`${at.registry.name}/tool@${kept.digest}`)).toMatchObject({ reused: true });
  expect(at.registry.requests).toEqual([]);
});

it("What stands on the disk where a part would be written is told, and nothing is fetched", async () => {
  // A directory stands where the part would be written.
  const image = at.registry.addImage("tool", "2", { layers: [tarOf(5)] });
  await mkdir(join(at.store.directory, "partial", image.layers[0]?.slice(7) ?? "", "x"), { recursive: true });
  await expect(at.pulls.pull(`${at.registry.name}/tool:2`)).rejects.toMatchObject({
    message: expect.stringContaining("EISDIR") as string,
  });
  expect(at.registry.paths.filter((path) => path.endsWith(image.layers[0] ?? ""))).toEqual([]);
});
