import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { digestOf, type ImagePullProgress } from "../../../src/oci/index.js";
import { OCI_INDEX, OCI_MANIFEST, tarOf } from "../../fakes/fake-registry.js";
import { pulling, type Pulling } from "./pulling.js";

let at: Pulling;
beforeEach(async () => {
  at = await pulling();
});
afterEach(async () => {
  await at[Symbol.asyncDispose]();
});

describe("a pull", () => {
  it("gives an image whose every blob is proven, read-only and said where", async () => {
    const layers = [tarOf(1), tarOf(2), tarOf(1)];
    const config = { config: { Env: ["A=b"], Cmd: ["sh"] } };
    const added = at.registry.addImage("team/tool", "1", { layers, config });
    const image = await at.pulls.pull(`${at.registry.name}/team/tool:1`);
    expect(image).toMatchObject({
      manifestDigest: added.digest,
      pinned: { tag: "1", digest: added.digest },
      config: { env: ["A=b"], cmd: ["sh"] },
      reused: false,
    });
    expect(image.layers.map(({ digest }) => digest)).toEqual(added.layers);
    expect(image.layers.map(({ diffId }) => diffId)).toEqual(layers.map((layer) => digestOf(layer)));
    for (const { path, digest, sizeBytes } of image.layers) {
      const bytes = await readFile(path);
      expect([digestOf(bytes), bytes.length]).toEqual([digest, sizeBytes]);
      expect((await stat(path)).mode & 0o777).toBe(0o444);
    }
    // A layer that comes twice is fetched once.
    expect(at.registry.paths.filter((path) => path.includes("/blobs/"))).toHaveLength(3);
    expect(await at.files("partial")).toEqual([]);
    expect(await at.files("blobs/sha256")).toHaveLength(4);
  });

  it("goes through indexes to the platform's image, and pins what the tag stood for", async () => {
    const arm = at.registry.addImage("tool", undefined, { architecture: "arm64" });
    const amd = at.registry.addImage("tool", undefined, { layers: [tarOf(3)] });
    const entry = (image: typeof arm, architecture: string) => ({
      ...{ mediaType: OCI_MANIFEST, digest: image.digest, size: image.sizeBytes },
      platform: { os: "linux", architecture },
    });
    const inner = { schemaVersion: 2, manifests: [entry(arm, "arm64"), entry(amd, "amd64")] };
    const innerDigest = at.registry.addDocument("tool", undefined, inner, OCI_INDEX);
    const size = Buffer.byteLength(JSON.stringify(inner));
    const outer = { schemaVersion: 2, manifests: [{ mediaType: OCI_INDEX, digest: innerDigest, size }] };
    const outerDigest = at.registry.addDocument("tool", "1", outer, OCI_INDEX);
    const image = await at.pulls.pull(`${at.registry.name}/tool:1`);
    expect(image.manifestDigest).toBe(amd.digest);
    expect(image.pinned.digest).toBe(outerDigest);
    const other = await at.pulls.pull(`${at.registry.name}/tool@${outerDigest}`, {
      platform: { os: "linux", architecture: "arm64" },
    });
    expect(other.manifestDigest).toBe(arm.digest);
  });

  it("of a digest that is here asks nobody; of a tag it asks for the tag alone", async () => {
    const { digest } = at.registry.addImage("tool", "1");
    await at.pulls.pull(`${at.registry.name}/tool:1`);
    at.registry.requests.length = 0;
    expect(await at.pulls.pull(`${at.registry.name}/tool@${digest}`)).toMatchObject({ reused: true });
    expect(at.registry.paths).toEqual([]);
    expect(await at.pulls.pull(`${at.registry.name}/tool:1`)).toMatchObject({ reused: true });
    expect(at.registry.paths).toEqual(["tool/manifests/1"]);
    at.registry.addImage("tool", "1", { layers: [tarOf(1), tarOf(9)] });
    expect(await at.pulls.pull(`${at.registry.name}/tool:1`)).toMatchObject({ reused: false });
    // The new configuration and the new layer; the other is shared.
    expect(at.registry.paths.filter((path) => path.includes("/blobs/"))).toHaveLength(2);
  });

  it("fetches again what was damaged on the disk since", async () => {
    const { layers } = at.registry.addImage("tool", "1");
    const before = await at.pulls.pull(`${at.registry.name}/tool:1`);
    const path = before.layers[0]?.path ?? "";
    const bytes = await readFile(path);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    await chmod(path, 0o644);
    await writeFile(path, bytes);
    const after = await at.pulls.pull(`${at.registry.name}/tool:1`);
    expect(after.reused).toBe(false);
    expect(digestOf(await readFile(path))).toBe(layers[0]);
  });

  it("tells how far each layer is, up to the last byte", async () => {
    at.registry.addImage("tool", "1", { layers: [tarOf(1), tarOf(2, 1024 * 1024)] });
    const seen: ImagePullProgress[] = [];
    const image = await at.pulls.pull(`${at.registry.name}/tool:1`, {
      onProgress: (each) => seen.push(each),
    });
    const last = seen.at(-1);
    expect(last).toMatchObject({ phase: "layers", bytesDone: image.sizeBytes, bytesTotal: image.sizeBytes });
    expect(last?.layers.map(({ state, bytesDone, bytesTotal }) => [state, bytesDone === bytesTotal])).toEqual(
      [
        ["here", true],
        ["here", true],
      ],
    );
    expect(seen.some(({ layers }) => layers.some(({ state }) => state === "fetching"))).toBe(true);
  });
});

it("An image of many layers is pulled, four at once, without a warning", async () => {
  const warnings: Error[] = [];
  const heed = (warning: Error): void => void warnings.push(warning);
  process.on("warning", heed);
  let [now, most] = [0, 0];
  at.registry.fault = async ({ path }) => {
    if (!path.includes("/blobs/")) return false;
    most = Math.max(most, (now += 1));
    await new Promise((resolve) => setTimeout(resolve, 5));
    now -= 1;
    return false;
  };
  at.registry.addImage("tool", "1", {
    layers: Array.from({ length: 100 }, (_, index) => tarOf(index, 1000)),
  });
  const { layers } = await at.pulls.pull(`${at.registry.name}/tool:1`);
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", heed);
  expect(layers).toHaveLength(100);
  expect(most).toBe(4);
  expect(warnings).toEqual([]);
});

describe("ten pulls at once", () => {
  it("of one image ask for everything once, and each hears of its progress", async () => {
    at.registry.addImage("tool", "1", { layers: [tarOf(1), tarOf(2)] });
    const heard = new Set<number>();
    const images = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        at.pulls.pull(`${at.registry.name}/tool:1`, { onProgress: () => heard.add(index) }),
      ),
    );
    expect(new Set(images.map(({ manifestDigest }) => manifestDigest)).size).toBe(1);
    expect(at.registry.paths.length).toBe(4);
    expect(new Set(at.registry.paths).size).toBe(4);
    expect(heard.size).toBe(10);
  });

  it("of ten images that share a layer fetch that layer once", async () => {
    const shared = tarOf(1, 512 * 1024);
    const names = Array.from({ length: 10 }, (_, index) => `tool-${index}`);
    const [added] = names.map((name, index) =>
      at.registry.addImage(name, "1", { layers: [shared, tarOf(index + 2)] }),
    );
    await Promise.all(names.map((name) => at.pulls.pull(`${at.registry.name}/${name}:1`)));
    const blobs = at.registry.paths.map((path) => path.split("/").at(-1));
    expect(blobs.filter((digest) => digest === added?.layers[0])).toHaveLength(1);
  });

  it("go on for the others when the one that began leaves, and end when all have left", async () => {
    const { layers } = at.registry.addImage("tool", "1", { layers: [tarOf(1, 1024 * 1024)] });
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    at.registry.fault = async ({ path }) => {
      if (path.endsWith(layers[0] ?? "")) await held;
      return false;
    };
    const first = new AbortController();
    const leaving = at.pulls.pull(`${at.registry.name}/tool:1`, { signal: first.signal });
    const staying = at.pulls.pull(`${at.registry.name}/tool:1`);
    await expect.poll(() => at.registry.paths.length).toBe(3);
    first.abort(new Error("left"));
    await expect(leaving).rejects.toThrow("left");
    release();
    expect(await staying).toMatchObject({ manifestDigest: expect.any(String) as string });
    expect(at.registry.paths).toHaveLength(3);
  });

  it("leave nothing but what can be gone on with when they are left", async () => {
    const { layers } = at.registry.addImage("tool", "1", { layers: [tarOf(1, 1024 * 1024)] });
    at.registry.fault = ({ path }, response) => {
      if (!path.endsWith(layers[0] ?? "")) return false;
      const bytes = at.registry.blobs.get(layers[0] ?? "") ?? Buffer.alloc(0);
      response.writeHead(200, { "content-length": bytes.length }).write(bytes.subarray(0, 300_000));
      return true;
    };
    const left = new AbortController();
    const pull = at.pulls.pull(`${at.registry.name}/tool:1`, { signal: left.signal });
    pull.catch(() => undefined);
    await expect.poll(async () => (await at.store.usage()).partialBytes).toBeGreaterThanOrEqual(300_000);
    left.abort(new Error("left"));
    await expect(pull).rejects.toThrow("left");
    expect(await at.files("partial")).toEqual([layers[0]?.slice("sha256:".length)]);
    at.registry.fault = undefined;
    at.registry.blobBytesSent = 0;
    await at.pulls.pull(`${at.registry.name}/tool:1`);
    expect(at.registry.requests.at(-1)?.headers.range).toBe("bytes=300000-");
    expect(await at.files("partial")).toEqual([]);
  });
});
