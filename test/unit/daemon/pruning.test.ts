import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ImagesOfRegistries } from "../../../src/daemon/registries.js";
import { BlobStore, ImagePulls, type PulledImage } from "../../../src/oci/index.js";
import { FakeRegistry, tarOf } from "../../fakes/fake-registry.js";

let cacheDirectory: string;
beforeEach(async () => {
  cacheDirectory = await mkdtemp(join(tmpdir(), "pyro-pruning-"));
});
afterEach(() => rm(cacheDirectory, { recursive: true, force: true }));

const blobs = async (): Promise<string[]> =>
  (await readdir(join(cacheDirectory, "oci/blobs/sha256"))).map((name) => `sha256:${name}`);
const registries = (): ImagesOfRegistries =>
  new ImagesOfRegistries({ cacheDirectory, settings: {}, environment: {} });

/** Two images that share a layer, as an earlier daemon pulled them. */
async function twoImages(): Promise<readonly PulledImage[]> {
  await using registry = await FakeRegistry.start();
  registry.addImage("a", "1", { layers: [tarOf(1), tarOf(2)] });
  registry.addImage("b", "1", { layers: [tarOf(1), tarOf(3)] });
  await using store = await BlobStore.open(join(cacheDirectory, "oci"));
  await using pulls = new ImagePulls({ store, registries: { insecure: [registry.name] } });
  return [await pulls.pull(`${registry.name}/a:1`), await pulls.pull(`${registry.name}/b:1`)];
}

it("Content of images stays as long as an environment was made of it", async () => {
  const [one, other] = await twoImages();
  if (one === undefined || other === undefined) throw new Error("no images");
  await using rooms = registries();
  expect(await rooms.prune([one.manifestDigest, other.manifestDigest])).toEqual({
    removed: [],
    freedBytes: 0,
  });
  const { removed, freedBytes } = await rooms.prune([one.manifestDigest]);
  expect(removed).toEqual(["3 files fetched from registries"]);
  expect(freedBytes).toBeGreaterThan(60_000);
  const left = [one.manifestDigest, one.configDigest, ...one.layers.map(({ digest }) => digest)];
  expect((await blobs()).sort()).toEqual([...left].sort());
  expect((await rooms.prune([])).removed).toEqual(["4 files fetched from registries"]);
  expect(await blobs()).toEqual([]);
});

it("Where there is none, or another daemon has it, nothing is done", async () => {
  await using rooms = registries();
  expect(await rooms.prune([])).toEqual({ removed: [], freedBytes: 0 });
  expect(await readdir(cacheDirectory)).toEqual([]);
  await mkdir(join(cacheDirectory, "oci/blobs/sha256"), { recursive: true });
  await writeFile(join(cacheDirectory, "oci/blobs/sha256/x"), "another's");
  await using _theirs = await BlobStore.open(join(cacheDirectory, "oci"));
  expect(await rooms.prune([])).toEqual({ removed: [], freedBytes: 0 });
  expect(await readdir(join(cacheDirectory, "oci/blobs/sha256"))).toEqual(["x"]);
});
