import { mkdtemp, open, readdir, rm, truncate, chmod } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { EnvironmentPulls, EnvironmentStore, layoutOf, loadCatalogue } from "../../../src/image/index.js";
import { BlobStore, digestOf, ImagePulls } from "../../../src/oci/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { FakeRegistry, tarOf } from "../../fakes/fake-registry.js";
import { FakeBuilder } from "./fake-builder.js";
import { FakeLayers } from "./fake-layers.js";
import { fakeHost, type FakeHost } from "./fake-host.js";

let registry: FakeRegistry;
let host: FakeHost;
let directory: string;
let blobs: BlobStore;
let images: ImagePulls;
let store: EnvironmentStore;
let builder: FakeBuilder;
let pulls: EnvironmentPulls;

const flipped = (bytes: Buffer): Buffer => {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(copy.length - 6) ^ 1, copy.length - 6);
  return copy;
};
/** Members of gzip one after the other. */
const BOMB = Buffer.concat(Array.from({ length: 18 }, () => gzipSync(Buffer.alloc(64 * 1024 ** 2))));

beforeEach(async () => {
  registry = await FakeRegistry.start();
  host = await fakeHost({ mmdebstrap: false });
  directory = await mkdtemp(join(tmpdir(), "pyro-image-pull-"));
  blobs = await BlobStore.open(join(directory, "oci"));
  images = new ImagePulls({ store: blobs, registries: { insecure: [registry.name] } });
  store = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
  builder = new FakeBuilder();
  pulls = new EnvironmentPulls({
    layers: new FakeLayers(),
    ...{ store, builder, host: host.programs },
    images: () => Promise.resolve(images),
  });
});
afterEach(async () => {
  await pulls.close();
  await images[Symbol.asyncDispose]();
  await blobs[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const CONFIG = {
  Env: ["A=1"],
  User: "app",
  WorkingDir: "/srv",
  Entrypoint: ["/app"],
  Cmd: ["--help"],
};
const TAR = "application/vnd.oci.image.layer.v1.tar";
const asLayer = ({ length }: Buffer): object => ({ sizeBytes: length, blob: { mediaType: TAR } });
const name = (): string => `${registry.name}/team/tool:1`;

describe("an environment from an image", () => {
  it("has what the image says of commands, and remembers what it was made of", async () => {
    const added = registry.addImage("team/tool", "1", {
      layers: [tarOf(1), tarOf(2)],
      config: { config: CONFIG },
    });
    const phases = new Set<string>();
    const result = await pulls.pull(name(), { onProgress: ({ phase }) => phases.add(phase) });
    expect(result).toMatchObject({ reused: false, environment: { name: name(), source: "image" } });
    expect([...phases]).toEqual(["fetch", "unpack", "seal"]);
    const image = await store.require(name());
    expect(image).toMatchObject({
      recipe: added.digest,
      config: { env: ["A=1"], user: "app", workingDir: "/srv", entrypoint: ["/app"], cmd: ["--help"] },
      origin: { reference: name(), manifest_digest: added.digest },
    });
    expect(image.origin?.layers.map(({ digest }) => digest)).toEqual(added.layers);
    // Tars, proven here.
    expect(builder.builds[0]?.layers).toMatchObject([tarOf(1), tarOf(2)].map(asLayer));
    expect(await readdir(store.layout.pulls)).toEqual([]);
    expect((await store.list()).map(({ name: listed, state }) => [listed, state])).toContainEqual([
      name(),
      "installed",
    ]);
  });

  it("is reused as long as its tag stands for the same image, and made anew after", async () => {
    registry.addImage("team/tool", "1");
    const first = await pulls.pull(name());
    expect((await pulls.pull(name())).reused).toBe(true);
    expect(builder.builds).toHaveLength(1);
    registry.addImage("team/tool", "1", { layers: [tarOf(9)] });
    const second = await pulls.pull(name());
    expect(second.reused).toBe(false);
    expect(second.environment.image?.digest).not.toBe(first.environment.image?.digest);
    expect(await readdir(store.layout.images)).toHaveLength(1);
    expect((await pulls.pull(name(), { force: true })).reused).toBe(false);
  });

  it("is repaired from what was fetched", async () => {
    registry.addImage("team/tool", "1");
    const { path } = (await pulls.pull(name())).environment.image ?? { path: "" };
    await chmod(path, 0o600);
    await truncate(path, 10);
    await expect(store.require(name())).rejects.toMatchObject({
      code: "ENVIRONMENT_DAMAGED",
      hint: expect.stringContaining(`pyro env pull ${name()}`) as string,
    });
    registry.blobs.clear();
    expect(await pulls.pull(name())).toMatchObject({ reused: false, repaired: true });
    await store.require(name());
  });

  it("fetches only what another does not have", async () => {
    registry.addImage("team/tool", "1", { layers: [tarOf(1, 200_000), tarOf(2)] });
    registry.addImage("team/other", "1", { layers: [tarOf(1, 200_000), tarOf(3)] });
    await pulls.pull(name());
    const before = registry.blobBytesSent;
    await pulls.pull(`${registry.name}/team/other:1`);
    expect(registry.blobBytesSent - before).toBeLessThan(100_000);
  });

  it("is pulled once, however many ask", async () => {
    registry.addImage("team/tool", "1", { layers: [tarOf(1), tarOf(2)] });
    // In any spelling.
    const texts = [name(), name(), `${registry.name.toUpperCase()}/team/tool:1`];
    const results = await Promise.all([...texts, ...texts, ...texts].map((text) => pulls.pull(text)));
    expect(new Set(results.map(({ environment }) => environment.image?.digest)).size).toBe(1);
    expect(builder.builds).toHaveLength(1);
    expect(registry.paths.filter((path) => path.includes("/blobs/"))).toHaveLength(3);
  });

  it("comes in one file, however many layers it has, in their order", async () => {
    const tars = Array.from({ length: 30 }, (_, at) => tarOf(at + 1, 1000 + at));
    registry.addImage("team/tool", "1", { layers: tars });
    const found: Buffer[] = [];
    builder.during = async ({ layers }) => {
      for (const { path, offsetBytes = 0, sizeBytes } of layers) {
        await using file = await open(path, "r");
        found.push((await file.read(Buffer.alloc(sizeBytes), 0, sizeBytes, offsetBytes)).buffer);
      }
    };
    await pulls.pull(name());
    const [build] = builder.builds;
    expect(new Set(build?.layers.map(({ path }) => path)).size).toBe(1);
    expect(found.map((tar, at) => tar.equals(tars[at] ?? Buffer.alloc(0)))).toEqual(tars.map(() => true));
    expect(await readdir(store.layout.pulls)).toEqual([]);
  });

  it("that cannot be unpacked is none; the next pull fetches nothing again", async () => {
    registry.addImage("team/tool", "1");
    builder.during = () => Promise.reject(new PyroError("IMAGE_LAYER_INVALID", "a layer is no tar"));
    await expect(pulls.pull(name())).rejects.toMatchObject({ code: "IMAGE_LAYER_INVALID" });
    expect((await store.inspect(name())).state).toBe("absent");
    expect(await readdir(store.layout.images)).toEqual([]);
    builder.during = () => Promise.resolve();
    const before = registry.blobBytesSent;
    await pulls.pull(name());
    expect(registry.blobBytesSent).toBe(before);
  });

  it.each([
    [
      "whose tar is another than its configuration says",
      { diffIds: [digestOf(Buffer.from("x"))] },
      "IMAGE_DIFF_ID_MISMATCH",
    ],
    ["whose compression breaks off", { packed: gzipSync(tarOf(1)).subarray(0, 1000) }, "IMAGE_LAYER_INVALID"],
    ["whose sum is wrong", { packed: flipped(gzipSync(tarOf(1))) }, "IMAGE_LAYER_INVALID"],
    // 1.1 GiB of zeros in 1 MB: nothing of usual contents comes near.
    ["that is a bomb", { packed: BOMB, diffIds: [] }, "IMAGE_LIMIT_EXCEEDED"],
  ])(
    "%s reaches no builder",
    async (_what, { packed, diffIds }: { packed?: Buffer; diffIds?: string[] }, code) => {
      registry.addImage("team/tool", "1", {
        ...(packed === undefined ? {} : { packed: [packed] }),
        ...(diffIds?.length === 1 ? { config: { rootfs: { type: "layers", diff_ids: diffIds } } } : {}),
      });
      await expect(pulls.pull(name())).rejects.toMatchObject({
        code,
        message: expect.stringMatching(/^layer 1:/) as string,
      });
      expect(builder.builds).toEqual([]);
      expect(await readdir(store.layout.pulls)).toEqual([]);
    },
  );

  describe("whose layer takes a while to come", () => {
    const tar = tarOf(1, 400_000);

    /** Sends a layer in pieces, the last of them once the builder has started; or nothing more then. */
    function slowly(isWhole: boolean): void {
      const added = registry.addImage("team/tool", "1", { layers: [tar] });
      registry.fault = async ({ path }, response, times) => {
        if (!path.endsWith(added.layers[0] ?? "none")) return false;
        if (times > 0) return !!response.writeHead(404).end();
        const bytes = registry.blobs.get(added.layers[0] ?? "") ?? Buffer.alloc(0);
        response.writeHead(200, { "content-length": bytes.length });
        const piece = Math.floor(bytes.length / 4);
        for (const at of [0, piece]) {
          response.write(bytes.subarray(at, at + piece));
          await sleep(150);
        }
        await vi.waitFor(() => expect(builder.waiting).toBe(1), 10_000);
        if (isWhole) response.end(bytes.subarray(2 * piece));
        else response.destroy();
        return true;
      };
    }

    it("has its builder started before it is here", async () => {
      slowly(true);
      let written = Buffer.alloc(0);
      builder.during = async ({ layers: [layer] }) => {
        await using file = await open(layer?.path ?? "", "r");
        written = (await file.read(Buffer.alloc(tar.length), 0, tar.length, layer?.offsetBytes)).buffer;
      };
      expect(await pulls.pull(name())).toMatchObject({ reused: false });
      expect(written.equals(tar)).toBe(true);
      expect([builder.waiting, builder.builds.length]).toEqual([0, 1]);
      expect(await readdir(store.layout.pulls)).toEqual([]);
    });

    it("and then does not come leaves no builder", async () => {
      slowly(false);
      await expect(pulls.pull(name())).rejects.toMatchObject({ code: "BLOB_NOT_FOUND" });
      expect([builder.waiting, builder.builds]).toEqual([0, []]);
      expect(await readdir(store.layout.pulls)).toEqual([]);
    });

    it("is not waited for where no machine can be had", async () => {
      slowly(false);
      builder.build = async () => {
        builder.waiting = 1;
        await sleep(10);
        throw new PyroError("VM_START_FAILED", "no machine today");
      };
      await expect(pulls.pull(name())).rejects.toMatchObject({ code: "VM_START_FAILED" });
      expect(await readdir(store.layout.pulls)).toEqual([]);
    });
  });

  it("needs no program of the host but what machines are started with", async () => {
    registry.addImage("team/tool", "1");
    for (const program of await readdir(host.path)) if (program !== "setpriv") await host.remove(program);
    await pulls.pull(name());
    await host.remove("setpriv");
    await expect(pulls.pull(name(), { force: true })).rejects.toMatchObject({ code: "HOST_TOOL_NOT_FOUND" });
  });

  it("that is not there is named by its registry", async () => {
    await expect(pulls.pull(`${registry.name}/nobody/nothing`)).rejects.toMatchObject({
      code: "IMAGE_NOT_FOUND",
    });
    expect(await readdir(store.layout.pulls).catch(() => [])).toEqual([]);
    expect([builder.waiting, builder.builds]).toEqual([0, []]);
  });

  it("has its builder started while its registry is asked", async () => {
    registry.addImage("team/tool", "1");
    registry.fault = async ({ path }) => {
      if (path.includes("/manifests/")) await vi.waitFor(() => expect(builder.waiting).toBe(1), 10_000);
      return false;
    };
    expect(await pulls.pull(name())).toMatchObject({ reused: false });
    // Nor is one started for what may be here already.
    registry.fault = undefined;
    expect(await pulls.pull(name())).toMatchObject({ reused: true });
    expect(builder.started).toBe(1);
  });
});
