import { mkdtemp, open, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BuildLayer } from "../../../src/image/index.js";
import { layoutOf } from "../../../src/image/index.js";
import { LayerTars, tarsBytesMost } from "../../../src/image/layer-tars.js";
import { PullPlace } from "../../../src/image/pull-place.js";
import { digestOf, type Compression, type PulledLayer } from "../../../src/oci/index.js";
import { tarOf } from "../../fakes/fake-registry.js";

const NEVER = new AbortController().signal;
let directory: string;
let place: PullPlace;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-layer-tars-"));
  place = await PullPlace.open(layoutOf(join(directory, "cache")), "team/tool:1", { fresh: false });
});
afterEach(async () => {
  await place[Symbol.asyncDispose]();
  expect(await readdir(join(directory, "cache/pulls"))).toEqual([]);
  await rm(directory, { recursive: true, force: true });
});

interface Given {
  readonly layer: PulledLayer;
  readonly tar: Buffer;
  readonly stored: Buffer;
}

async function layerOf(tar: Buffer, compression: Compression = "gzip"): Promise<Given> {
  const stored = compression === "gzip" ? gzipSync(tar) : tar;
  const path = join(directory, digestOf(stored).slice(7));
  await writeFile(path, stored);
  const common = { path, sizeBytes: stored.length, compression, mediaType: "application/x-as-it-is" };
  return { layer: { ...common, digest: digestOf(stored), diffId: digestOf(tar) }, tar, stored };
}

async function tarsOf(layers: readonly PulledLayer[]): Promise<LayerTars> {
  const tars = await LayerTars.open(place, tarsBytesMost(layers));
  tars.expect(layers);
  return tars;
}

async function contentOf({ path, offsetBytes = 0, sizeBytes }: BuildLayer): Promise<Buffer> {
  await using file = await open(path, "r");
  return (await file.read(Buffer.alloc(sizeBytes), 0, sizeBytes, offsetBytes)).buffer;
}

describe("the tars of an image's layers", () => {
  it.each<Compression>(["gzip", "none"])(
    "are those that came, however often they began anew, and from the disk what did not come whole: %s",
    async (compression) => {
      const given = await Promise.all([1, 2, 3, 4].map((seed) => layerOf(tarOf(seed, 300_000), compression)));
      const [whole, anew, half, none] = given.map(({ layer, stored }) => ({ layer, stored }));
      if (!whole || !anew || !half || !none) throw new Error("four layers");
      const layers = given.map(({ layer }) => layer);
      await using tars = await tarsOf(layers);
      const tap = (layer: PulledLayer) => tars.tap(layer.digest) ?? expect.fail("no place for it");
      const first = tap(whole.layer);
      for (let at = 0; at < whole.stored.length; at += 50_000) {
        await first.take(whole.stored.subarray(at, at + 50_000));
      }
      const second = tap(anew.layer);
      await second.take(half.stored);
      await second.restart();
      await second.take(Buffer.from("neither gzip nor a tar"));
      await second.restart();
      await second.take(anew.stored);
      await tap(half.layer).take(half.stored.subarray(0, 100_000));
      tap(none.layer);
      let readAgain = 0;
      const made = await tars.finish(layers, NEVER, (bytes) => (readAgain = bytes));
      const found = await Promise.all(made.map(contentOf));
      expect(found.map((tar, index) => tar.equals(given[index]?.tar ?? Buffer.alloc(0)))).toEqual(
        given.map(() => true),
      );
      expect(readAgain).toBe(half.stored.length + none.stored.length);
      expect(new Set(made.map(({ path }) => path)).size).toBe(1);
    },
  );

  it("are read from the disk where what came had another sum, which then is told of", async () => {
    const given = await layerOf(tarOf(1));
    const wrong = { ...given.layer, diffId: digestOf(Buffer.from("x")) };
    await using tars = await tarsOf([given.layer, wrong]);
    await tars.tap(given.layer.digest)?.take(given.stored);
    await expect(tars.finish([given.layer, wrong], NEVER, () => undefined)).rejects.toMatchObject({
      code: "IMAGE_DIFF_ID_MISMATCH",
      message: expect.stringMatching(/^layer 2:/) as string,
    });
  });

  it("are read no more once nobody waits", async () => {
    const { layer, stored } = await layerOf(tarOf(1, 3_000_000));
    const tars = await tarsOf([layer]);
    const tap = tars.tap(layer.digest);
    await tap?.take(stored.subarray(0, 1_000_000));
    await tars[Symbol.asyncDispose]();
    await tap?.take(stored.subarray(1_000_000));
    await expect(tars.finish([layer], AbortSignal.abort(new Error("over")), () => undefined)).rejects.toThrow(
      "over",
    );
  });
});
