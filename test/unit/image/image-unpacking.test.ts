import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { EnvironmentStore, layoutOf, loadCatalogue } from "../../../src/image/index.js";
import { ImageUnpacking } from "../../../src/image/image-unpacking.js";
import { LayerTars } from "../../../src/image/layer-tars.js";
import { packagePath, silentLogger } from "../../../src/kit/index.js";
import { digestOf, type KnownLayer, type PulledLayer, type StoredImage } from "../../../src/oci/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { tarOf } from "../../fakes/fake-registry.js";
import { FakeBuilder } from "./fake-builder.js";

const TAR = tarOf(1);
const LARGE_BYTES = 300 * 1024 ** 2;
let directory: string;
let store: EnvironmentStore;
let builder: FakeBuilder;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-unpacking-"));
  store = new EnvironmentStore(await loadCatalogue(packagePath("environments")), layoutOf(directory));
  builder = new FakeBuilder();
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function unpackingOf(): ImageUnpacking {
  return new ImageUnpacking({
    ...{ store, builder, logger: silentLogger, name: "team/tool:1", fresh: false },
    ...{ onProgress: () => undefined, signal: new AbortController().signal },
  });
}

/** Of one small layer, whatever it says of its size. */
async function imageOf(sizeBytes: number): Promise<StoredImage> {
  const path = join(directory, "layer");
  await writeFile(path, TAR);
  const digest = digestOf(TAR);
  const known = { digest, diffId: digest, sizeBytes: TAR.length, compression: "none" as const };
  const layers: PulledLayer[] = [{ ...known, path, mediaType: "application/vnd.oci.image.layer.v1.tar" }];
  const config = { env: [], labels: {} } as unknown as StoredImage["config"];
  return { manifestDigest: digest, configDigest: digest, config, layers, sizeBytes, reused: false };
}

describe("an image that is unpacked", () => {
  it("has its builder before it is known, and the same one then", async () => {
    await using unpacking = unpackingOf();
    await unpacking.prepare();
    await vi.waitFor(() => expect(builder.waiting).toBe(1), 10_000);
    const image = await imageOf(TAR.length);
    const tap = (await unpacking.begin(image))(digestOf(TAR));
    await tap?.take(TAR);
    await unpacking.finish(image);
    expect(builder.started).toBe(1);
    expect(builder.builds[0]?.layers).toMatchObject([{ sizeBytes: TAR.length }]);
  });

  it("is asked for once its machine is on its way, and not where there is no place for it", async () => {
    await using unpacking = unpackingOf();
    await unpacking.prepare();
    expect([builder.started, unpacking.signal.aborted]).toEqual([1, false]);
    await using second = unpackingOf();
    await second.prepare();
    expect(second.signal.reason).toMatchObject({ code: "ENVIRONMENT_BUSY" });
    expect(builder.started).toBe(1);
  });

  it("has it again when a large one will be here soon, and none meanwhile", async () => {
    await using unpacking = unpackingOf();
    await unpacking.prepare();
    await vi.waitFor(() => expect(builder.waiting).toBe(1), 10_000);
    const image = await imageOf(LARGE_BYTES);
    const progress = { phase: "layers" as const, bytesTotal: LARGE_BYTES, layers: [] };
    // Said before the image's configuration is here; what an earlier pull fetched counts after it.
    unpacking.follow({ ...progress, bytesDone: 0 });
    const tap = (await unpacking.begin(image))(digestOf(TAR));
    expect([builder.waiting, unpacking.signal.aborted]).toEqual([0, false]);
    unpacking.follow({ ...progress, bytesDone: LARGE_BYTES - 100 });
    expect(builder.started).toBe(1);
    await tap?.take(TAR);
    unpacking.follow({ ...progress, bytesDone: LARGE_BYTES - 1 });
    await vi.waitFor(() => expect(builder.waiting).toBe(1), 10_000);
    const { disk } = await unpacking.finish(image);
    expect([builder.waiting, builder.started, builder.builds.length]).toEqual([0, 2, 1]);
    expect(disk).toContain("unpacked.qcow2");
  });

  it("leaves neither a builder nor its tars where it never comes to be known, or when nobody wants it any more", async () => {
    const unpacking = unpackingOf();
    await unpacking.prepare();
    await vi.waitFor(() => expect(builder.waiting).toBe(1), 10_000);
    await unpacking[Symbol.asyncDispose]();
    expect([builder.waiting, builder.builds]).toEqual([0, []]);
    expect(await readdir(store.layout.pulls)).toEqual([]);
    // Others may wait for the same fetch.
    await unpacking.begin(await imageOf(TAR.length));
    expect(builder.started).toBe(1);
    expect(await readdir(store.layout.pulls)).toEqual([]);
  });

  it("has its builder once it is known, where no file may be as long as any image's tars", async () => {
    const tooLong = Object.assign(new Error("EFBIG: file too large, ftruncate"), { code: "EFBIG" });
    vi.spyOn(LayerTars, "open").mockRejectedValueOnce(tooLong);
    await using unpacking = unpackingOf();
    await unpacking.prepare();
    const image = await imageOf(TAR.length);
    await (await unpacking.begin(image))(digestOf(TAR))?.take(TAR);
    await unpacking.finish(image);
    expect([builder.started, builder.builds.length]).toEqual([1, 1]);
  });

  it("is told of by its registry first, where no machine can be had", async () => {
    const refused = new Error("no machine today");
    builder.build = () => Promise.reject(refused);
    await using unpacking = unpackingOf();
    await unpacking.prepare();
    await sleep(100);
    expect(unpacking.signal.aborted).toBe(false);
    await unpacking.begin(await imageOf(TAR.length));
    expect(unpacking.signal.reason).toBe(refused);
  });

  it("has room for its tars before it is known, however many layers it has", async () => {
    const soon = 256 * 1024 ** 2;
    const each = soon / LIMITS.imageLayers;
    const sizes = Array.from({ length: LIMITS.imageLayers }, (_, at) => at);
    for (const layers of [sizes.map(() => each), [soon], sizes.map((at) => (at === 0 ? soon : 0))]) {
      await using unpacking = unpackingOf();
      await unpacking.prepare();
      const image = { ...(await imageOf(soon)), layers: layers.map(packedLayer) };
      await unpacking.begin(image);
      expect(unpacking.signal.aborted).toBe(false);
    }
  });
});

function packedLayer(sizeBytes: number, at: number): KnownLayer {
  const digest = digestOf(Buffer.from(`${at}`));
  return { digest, diffId: digest, sizeBytes, compression: "gzip", mediaType: "application/x-as-it-is" };
}
