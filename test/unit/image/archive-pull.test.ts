import { chmod, mkdir, mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { EnvironmentPulls, EnvironmentStore, layoutOf, loadCatalogue } from "../../../src/image/index.js";
import { manifestPath } from "../../../src/image/layout.js";
import { BlobStore, ImagePulls } from "../../../src/oci/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { installFakeEnvironment } from "../../fakes/fake-environment.js";
import { layoutOfImages, tarOfFiles } from "../../fakes/fake-archive.js";
import { tarOf } from "../../fakes/fake-registry.js";
import { FakeBuilder } from "./fake-builder.js";
import { FakeLayers } from "./fake-layers.js";
import { fakeHost, type FakeHost } from "./fake-host.js";

let host: FakeHost;
let directory: string;
let blobs: BlobStore;
let images: ImagePulls;
let store: EnvironmentStore;
let builder: FakeBuilder;
let pulls: EnvironmentPulls;

beforeEach(async () => {
  host = await fakeHost({ mmdebstrap: false });
  directory = await mkdtemp(join(tmpdir(), "pyro-archive-pull-"));
  blobs = await BlobStore.open(join(directory, "oci"));
  images = new ImagePulls({ store: blobs });
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
  await rm(directory, { recursive: true, force: true });
});

async function archive(bytes: Buffer, file = "image.tar"): Promise<string> {
  const path = join(directory, file);
  await writeFile(path, bytes);
  return path;
}
const simple = (seed = 1, file?: string): Promise<string> =>
  archive(tarOfFiles(layoutOfImages({ seed })), file);

const NAME = "tools:1";
const failure = async (path: string, force = false): Promise<PyroError> =>
  await pulls.pull(NAME, { from: { path }, force }).then(
    () => expect.fail("it was pulled"),
    (error: unknown) => PyroError.from(error),
  );
const layers = (): number[][] =>
  builder.builds.map((build) => build.layers.map(({ sizeBytes }) => sizeBytes));

describe("an environment from an archive", () => {
  it("has its own name, what the image says, and the file that it was made of", async () => {
    const said = new Set<string>();
    const result = await pulls.pull(NAME, {
      from: { path: await simple() },
      onProgress: ({ phase, message }) => said.add(`${phase} ${message}`),
    });
    expect(result).toMatchObject({ reused: false, repaired: false });
    expect(result.environment).toMatchObject({ name: NAME, source: "archive", state: "installed" });
    expect(result.environment.image).toMatchObject({
      config: { env: ["A=1"], user: "app" },
      origin: { reference: "image.tar", manifest_digest: result.environment.image?.recipe },
    });
    expect([...said].join("\n")).not.toContain("registry");
    expect(layers()).toEqual([[tarOf(1).length]]);
    expect(await readdir(store.layout.pulls)).toEqual([]);
    // Who has it asks no registry for that name.
    expect(await pulls.pull(NAME)).toMatchObject({ reused: true, environment: { name: NAME } });
  });

  it("of a directory is the same one, and is not made again", async () => {
    await pulls.pull(NAME, { from: { path: await simple() } });
    const path = join(directory, "layout");
    for (const [name, bytes] of layoutOfImages({ seed: 1 })) {
      await mkdir(dirname(join(path, name)), { recursive: true });
      await writeFile(join(path, name), bytes);
    }
    expect((await pulls.pull(NAME, { from: { path } })).reused).toBe(true);
    expect(builder.builds).toHaveLength(1);
    expect((await pulls.pull(NAME, { from: { path }, force: true })).reused).toBe(false);
    expect((await store.require(NAME)).origin?.reference).toBe("layout");
  });

  it("is another one when the file is", async () => {
    const first = await pulls.pull(NAME, { from: { path: await simple(1) } });
    const second = await pulls.pull(NAME, { from: { path: await simple(2) } });
    expect(second.reused).toBe(false);
    expect(second.environment.image?.digest).not.toBe(first.environment.image?.digest);
    expect(await readdir(store.layout.images)).toHaveLength(1);
  });

  it("of several is the one that is named, by its digest where it has no name", async () => {
    const path = await archive(tarOfFiles(layoutOfImages({ seed: 1, ref: "one" }, { seed: 2 })));
    const error = await failure(path);
    expect(error).toMatchObject({ code: "AMBIGUOUS_REFERENCE", hint: 'name one of them: `--image "one"`' });
    const [, unnamed = ""] = (error.details as { names: string[] }).names;
    const one = await pulls.pull("one", { from: { path, image: "one" } });
    const two = await pulls.pull("two", { from: { path, image: unnamed } });
    expect(two.environment.image?.recipe).toBe(unnamed);
    expect(one.environment.image?.recipe).not.toBe(unnamed);
  });

  it("whose image is damaged says how it is made again, and is", async () => {
    const path = await simple();
    const { environment } = await pulls.pull(NAME, { from: { path } });
    await chmod(environment.image?.path ?? "", 0o600);
    await truncate(environment.image?.path ?? "", 10);
    const hint = 'run `pyro env pull tools:1 --from FILE` with the archive that it was made of, "image.tar"';
    await expect(store.require(NAME)).rejects.toMatchObject({ code: "ENVIRONMENT_DAMAGED", hint });
    await expect(pulls.pull(NAME)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", hint });
    expect(await pulls.pull(NAME, { from: { path } })).toMatchObject({ reused: false, repaired: true });
    await store.require(NAME);
  });
});

describe("the name of one", () => {
  it.each(["debian:12", "registry.example/tool:1", "Tools", ""])("is not %j", async (name) => {
    const path = await simple();
    await expect(pulls.pull(name, { from: { path } })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(builder.builds).toEqual([]);
  });

  it("that an environment of elsewhere has is taken by force alone", async () => {
    await installFakeEnvironment(host.cache, NAME);
    const manifest = await store.manifest(NAME);
    if (manifest === undefined) expect.fail("it is not there");
    await store.writeManifest({ ...manifest, source: "workspace" });
    const path = await simple();
    expect(await failure(path)).toMatchObject({
      code: "ENVIRONMENT_EXISTS",
      hint: expect.stringContaining("--force") as string,
    });
    expect(await store.manifest(NAME)).toMatchObject({ source: "workspace" });
    expect(builder.builds).toEqual([]);
    await pulls.pull(NAME, { from: { path }, force: true });
    expect(await store.manifest(NAME)).toMatchObject({ source: "archive" });
  });

  it("that another environment got meanwhile stays its own", async () => {
    const path = await simple();
    await installFakeEnvironment(host.cache, "other");
    const other = await store.manifest("other");
    if (other === undefined) expect.fail("it is not there");
    // Between the first look, which is for all, and the pull's taking its place.
    vi.spyOn(host.programs, "require").mockImplementationOnce(() =>
      store.writeManifest({ ...other, name: NAME, source: "build" }),
    );
    expect(await failure(path)).toMatchObject({ code: "ENVIRONMENT_EXISTS" });
    expect(await store.manifest(NAME)).toMatchObject({ source: "build" });
    expect(builder.builds).toEqual([]);
  });
});

it("Pulls of one name from two files come one after the other; of one file, together", async () => {
  const paths = await Promise.all([simple(1, "one.tar"), simple(2, "two.tar")]);
  const [a, b] = paths;
  const results = await Promise.all([a, b, a, b].map((path) => pulls.pull(NAME, { from: { path } })));
  expect(results.every(({ reused }) => !reused)).toBe(true);
  expect(builder.builds).toHaveLength(2);
  expect((await store.require(NAME)).origin?.reference).toBe("two.tar");
});

describe("what is no archive, or a damaged one,", () => {
  const whole = tarOfFiles(layoutOfImages({ seed: 1 }));
  const changed = Buffer.from(whole);
  const layer = gzipSync(tarOf(1), { level: 1 });
  const at = whole.indexOf(layer) + 1000;
  changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
  const old = tarOfFiles(new Map([["manifest.json", Buffer.from("[]")]]));

  it.each([
    ["cut off", whole.subarray(0, whole.length - 30_000), "IMAGE_ARCHIVE_INVALID", "skopeo copy docker://"],
    ["with a changed layer", changed, "BLOB_DIGEST_MISMATCH", "anew"],
    ["of docker's old format", old, "IMAGE_FORMAT_NOT_SUPPORTED", "skopeo copy docker-archive:"],
    ["packed", gzipSync(whole), "IMAGE_ARCHIVE_INVALID", "gunzip"],
  ])("%s is named, and leaves nothing", async (_what, bytes, code, hint) => {
    const error = await failure(await archive(bytes));
    expect(error).toMatchObject({ code, hint: expect.stringContaining(hint) as string });
    expect(builder.builds).toEqual([]);
    expect(await store.manifests()).toEqual([]);
    for (const place of [store.layout.pulls, store.layout.images, join(directory, "oci/partial")]) {
      expect(await readdir(place).catch(() => [])).toEqual([]);
    }
  });

  it("does not take the place of a whole one", async () => {
    const { environment } = await pulls.pull(NAME, { from: { path: await simple() } });
    expect(await failure(await archive(old), true)).toMatchObject({ code: "IMAGE_FORMAT_NOT_SUPPORTED" });
    expect((await store.require(NAME)).digest).toBe(environment.image?.digest);
    expect(await readdir(dirname(manifestPath(store.layout, NAME)))).toHaveLength(1);
  });
});
