import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  EnvironmentPushes,
  EnvironmentStore,
  layoutOf,
  loadCatalogue,
  type ImagePacker,
} from "../../../src/image/index.js";
import { imagePath } from "../../../src/image/layout.js";
import type { Manifest } from "../../../src/image/record.js";
import { packagePath, sha256File, tryLock } from "../../../src/kit/index.js";
import { BlobStore, digestOf, ImagePulls, ImagePushes } from "../../../src/oci/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { FakePushRegistry } from "../../fakes/fake-push-registry.js";
import { FakeRegistry, tarOf } from "../../fakes/fake-registry.js";
import { sealedEnvironment } from "../../fakes/sealed-environment.js";

let cache: string;
let registry: FakePushRegistry;
let store: EnvironmentStore;
let tar: Buffer;
const held: string[] = [];
/** What the packer was asked for, and what it does after the tar's first half. */
let asked: Parameters<ImagePacker["pack"]>[0][] = [];
let halfway: () => Promise<void>;

beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "pyro-env-push-"));
  registry = await FakePushRegistry.start();
  store = new EnvironmentStore(await loadCatalogue(packagePath("environments")), layoutOf(cache));
  tar = tarOf(7, 400_000);
  asked = [];
  held.length = 0;
  halfway = () => Promise.resolve();
});
afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(cache, { recursive: true, force: true });
});

const packer: ImagePacker = {
  pack: async (request, take) => {
    asked.push(request);
    const parts = async function* () {
      yield tar.subarray(0, 200_000);
      await halfway();
      request.signal.throwIfAborted();
      yield tar.subarray(200_000);
    };
    await take({ tar: parts(), usedBytes: tar.length });
    return { entryCount: 3, leftOut: 2 };
  },
};

const environment = (name: string, manifest: Partial<Manifest> = {}): Promise<void> =>
  sealedEnvironment(store, name, manifest);

async function push(
  name: string,
  options: { signal?: AbortSignal; blobs?: BlobStore; reference?: string } = {},
) {
  const { signal = new AbortController().signal, blobs, reference = `${registry.name}/team/it:1` } = options;
  await using images = new ImagePushes({ registries: { insecure: [registry.name] }, retry: { firstMs: 5 } });
  const hold = (digest: string): Disposable => {
    held.push(`+${digest}`);
    return { [Symbol.dispose]: () => void held.push(`-${digest}`) };
  };
  const pushes = new EnvironmentPushes(
    {
      ...{ store, packer, hold, images: () => Promise.resolve(images) },
      blobs: blobs === undefined ? undefined : () => Promise.resolve(blobs),
    },
    cache,
  );
  const phases: string[] = [];
  const onProgress = ({ phase }: { phase: string }): void => {
    if (phases.at(-1) !== phase) phases.push(phase);
  };
  const result = await pushes.push(name, reference, { signal, onProgress });
  return { ...result, phases };
}
const failure = async (...args: Parameters<typeof push>): Promise<PyroError> =>
  await push(...args).then(
    () => expect.fail("it was pushed"),
    (error: unknown) => PyroError.from(error),
  );
const leavings = async (): Promise<string[]> => await readdir(join(cache, "pushes")).catch(() => []);
const document = (bytes: Buffer | undefined) =>
  JSON.parse(bytes?.toString() ?? "") as Record<string, unknown>;
function configOf(tag: string): Record<string, unknown> {
  const manifest = document(registry.manifests.get(tag)?.bytes);
  return document(registry.blobs.get((manifest["config"] as { digest: string }).digest));
}

describe("a push", () => {
  it("packs the tree into one layer, whose digests are those of its bytes, and leaves nothing here", async () => {
    const config = { env: ["A=b"], user: "me", working_dir: "/w", entrypoint: ["/e"], cmd: ["c"] };
    await environment("mine", { config, source: "workspace" });
    const result = await push("mine");
    expect(result).toMatchObject({
      environment: "mine",
      leftOut: 2,
      isSameImage: false,
      phases: ["pack", "upload"],
    });
    const { layers = [] } = document(registry.manifests.get("team/it:1")?.bytes) as {
      layers?: { digest: string }[];
    };
    const layer = registry.blobs.get(layers[0]?.digest ?? "") ?? Buffer.alloc(0);
    expect(gunzipSync(layer).equals(tar)).toBe(true);
    expect(configOf("team/it:1")).toMatchObject({
      rootfs: { diff_ids: [digestOf(tar)] },
      config: { Env: ["A=b"], User: "me", WorkingDir: "/w", Entrypoint: ["/e"], Cmd: ["c"] },
      created: "2023-11-14T22:13:20.000Z",
    });
    expect(await leavings()).toEqual([]);
    const { digest } = await store.require("mine");
    expect(held).toEqual([`+${digest}`, `-${digest}`]);
    // The same again is the same image.
    expect(await push("mine")).toMatchObject({ digest: result.digest, uploadedBytes: 0 });
  });

  it("of an environment that says nothing of commands gives podman something to run", async () => {
    await environment("debian:12", { source: "curated" });
    await push("debian:12");
    expect(configOf("team/it:1")).toMatchObject({ config: { Cmd: ["/bin/sh"] } });
  });

  it("leaves out an empty /workspace where pyro makes it, and nowhere else", async () => {
    for (const source of ["curated", "image", "archive", "build", "workspace"] as const) {
      await environment("mine", { source });
      await push("mine");
    }
    expect(asked.map(({ leaveOutEmpty }) => leaveOutEmpty.join())).toEqual([
      ...["lost+found", "lost+found", "lost+found"],
      ...["lost+found,workspace", "lost+found,workspace"],
    ]);
  });

  it("is refused before anything is packed where it could not end well", async () => {
    await environment("mine");
    await environment("broken");
    await writeFile(imagePath(store.layout, (await store.require("broken")).digest), "changed");
    expect(await failure("none")).toMatchObject({ code: "ENVIRONMENT_NOT_PULLED" });
    expect(await failure("broken")).toMatchObject({ code: "ENVIRONMENT_DAMAGED" });
    expect(await failure("mine", { reference: "tool" })).toMatchObject({ code: "IMAGE_REFERENCE_INVALID" });
    registry.fault = (_, response) => {
      response.writeHead(403).end();
      return true;
    };
    expect(await failure("mine")).toMatchObject({ code: "REGISTRY_FORBIDDEN" });
    expect(asked).toEqual([]);
  });

  it("that fails, or is ended, in the middle leaves nothing here and no image there", async () => {
    await environment("mine");
    halfway = () => Promise.reject(new PyroError("ENVIRONMENT_NOT_PORTABLE", "no", { hint: "mend it" }));
    expect(await failure("mine")).toMatchObject({ code: "ENVIRONMENT_NOT_PORTABLE" });
    const controller = new AbortController();
    halfway = async () => {
      expect(await leavings()).toHaveLength(1);
      controller.abort(new PyroError("CANCELLED", "enough", { hint: "again" }));
    };
    expect(await failure("mine", { signal: controller.signal })).toMatchObject({ code: "CANCELLED" });
    expect(await leavings()).toEqual([]);
    expect(registry.manifests.size).toBe(0);
    expect(held).toHaveLength(4);
  });

  it("that was killed leaves what the next start removes, but not what another process is at", async () => {
    const directory = join(cache, "pushes");
    for (const name of ["push-dead", "push-alive"]) await mkdir(join(directory, name), { recursive: true });
    await writeFile(join(directory, "push-dead/layer"), "half");
    await writeFile(join(directory, "push-dead/lock"), "");
    await using _lock = await tryLock(join(directory, "push-alive/lock"));
    await new EnvironmentPushes(
      { store, packer, images: () => expect.fail("asked"), hold: () => expect.fail("held") },
      cache,
    ).sweepStale();
    expect(await leavings()).toEqual(["push-alive"]);
  });
});

describe("an environment of a registry", () => {
  it("is pushed as the image that it was, as long as all of that is here", async () => {
    await using from = await FakeRegistry.start();
    await using blobs = await BlobStore.open(join(cache, "blobs"));
    await using pulls = new ImagePulls({ store: blobs, registries: { insecure: [from.name] } });
    from.addImage("base", "1", { layers: [tarOf(1), tarOf(2)] });
    const image = await pulls.pull(`${from.name}/base:1`);
    const origin = {
      reference: `${from.name}/base:1`,
      manifest_digest: image.manifestDigest,
      layers: image.layers.map(({ digest, sizeBytes }) => ({ digest, size_bytes: sizeBytes })),
    };
    await environment(origin.reference, { origin });
    const result = await push(origin.reference, { blobs });
    expect(result).toMatchObject({ isSameImage: true, digest: image.manifestDigest, phases: ["upload"] });
    expect(asked).toEqual([]);
    for (const { digest, path } of image.layers) {
      expect(`sha256:${await sha256File(path)}`).toBe(digest);
      expect(registry.blobs.get(digest)?.length).toBe((await stat(path)).size);
    }
    await rm(image.layers[1]?.path ?? "");
    expect(await push(origin.reference, { blobs })).toMatchObject({ isSameImage: false });
    expect(asked).toHaveLength(1);
  });
});
