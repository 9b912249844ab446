import { createHash } from "node:crypto";
import { chmod, readFile, readdir, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  EnvironmentPulls,
  EnvironmentStore,
  IMAGE_VIRTUAL_BYTES,
  layoutOf,
  loadCatalogue,
  type EnvironmentPullsOptions,
  type PullProgress,
  pruneEnvironments,
} from "../../../src/image/index.js";
import { complete } from "../../../src/kit/index.js";
import { FakeBuilder, noImages } from "./fake-builder.js";
import { FakeLayers } from "./fake-layers.js";
import { fakeHost, type FakeHost } from "./fake-host.js";

const NAME = "debian:12";
let host: FakeHost;
let store: EnvironmentStore;
let builder: FakeBuilder;
let pulls: EnvironmentPulls;

async function setUp(options: Partial<EnvironmentPullsOptions> & { readonly mmdebstrap?: boolean } = {}) {
  host = await fakeHost({ mmdebstrap: options.mmdebstrap ?? false });
  store = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
  builder = new FakeBuilder();
  pulls = new EnvironmentPulls({
    images: noImages,
    layers: new FakeLayers(),
    store,
    builder,
    host: host.programs,
    ...options,
  });
}

beforeEach(() => setUp());
afterEach(async () => {
  await pulls.close();
  await host[Symbol.asyncDispose]();
});

const entries = async (name: "images" | "manifests" | "pulls" | "packages"): Promise<string[]> =>
  (await readdir(store.layout[name]).catch(() => [])).sort();

/** Trees that this test's mmdebstrap was given and that are still there. */
const trees = async (): Promise<string[]> => {
  const made = (await host.log()).filter((line) => line.startsWith("/var/tmp/"));
  const left = await readdir("/var/tmp");
  return made.filter((path) => left.some((name) => path.includes(name)));
};

async function again(options: Parameters<typeof setUp>[0]): Promise<void> {
  await host[Symbol.asyncDispose]();
  await setUp(options);
}

describe("pulling an environment", () => {
  it("makes a read-only image whose name is its SHA-256, and leaves nothing of the making", async () => {
    const progress: PullProgress[] = [];
    const result = await pulls.pull(NAME, { onProgress: (each) => progress.push(each) });
    expect(result).toMatchObject({ reused: false, repaired: false });
    const image = await store.require(NAME);
    const bytes = await readFile(image.path);
    expect(image.digest).toBe(`sha256:${createHash("sha256").update(bytes).digest("hex")}`);
    expect(image.path).toContain(image.digest.replace(":", "-"));
    expect((await stat(image.path)).mode & 0o777).toBe(0o444);
    expect(image.virtualBytes).toBe(IMAGE_VIRTUAL_BYTES);
    expect(image.packages).toEqual([
      { name: "alpha", version: "1:2.0-1" },
      { name: "beta", version: "1:2.0-1" },
    ]);
    expect(await entries("pulls")).toEqual([]);
    expect(await entries("images")).toHaveLength(1);
    expect([...new Set(progress.map((each) => each.phase))]).toEqual(["fetch", "assemble", "unpack", "seal"]);
    expect(progress.some((each) => each.message === "Setting up alpha")).toBe(true);
    const total = progress.find((each) => each.bytesTotal > 0)?.bytesTotal ?? 0;
    expect(
      progress.some((each) => each.phase === "fetch" && each.bytesDone === Math.floor(total * 0.4)),
    ).toBe(true);
    expect(pulls.progressOf(NAME)).toBeUndefined();
  });

  it("reuses what is there and whole, without a look at the network", async () => {
    await pulls.pull(NAME);
    const before = await host.log();
    expect(await pulls.pull(NAME)).toMatchObject({ reused: true, repaired: false });
    expect(await host.log()).toEqual(before);
  });

  it("makes it anew when forced, and when the catalogue's recipe changed; the old image goes", async () => {
    await pulls.pull(NAME);
    const old = (await store.require(NAME)).digest;
    expect(await pulls.pull(NAME, { force: true })).toMatchObject({ reused: false, repaired: false });
    expect((await host.log()).filter((line) => line === "download")).toHaveLength(1);
    builder.during = async ({ layers }) => {
      await chmod(layers[0]?.path ?? "", 0o644);
      await writeFile(layers[0]?.path ?? "", "other content".repeat(100));
    };
    await writeFile(join(host.catalogueDirectory, "finish.sh"), "#!/bin/sh\n: changed\n");
    const changed = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
    const second = new EnvironmentPulls({
      images: noImages,
      layers: new FakeLayers(),
      store: changed,
      builder,
      host: host.programs,
    });
    expect(await second.pull(NAME)).toMatchObject({ reused: false });
    expect((await changed.require(NAME)).digest).not.toBe(old);
    expect(await entries("images")).toHaveLength(1);
  });

  it("keeps a replaced image that a machine uses", async () => {
    let used: ReadonlySet<string> = new Set();
    await again({ inUse: () => Promise.resolve(used) });
    await pulls.pull(NAME);
    const old = await store.require(NAME);
    used = new Set([old.digest]);
    builder.during = async ({ layers }) => {
      await chmod(layers[0]?.path ?? "", 0o644);
      await writeFile(layers[0]?.path ?? "", "other content".repeat(100));
    };
    await pulls.pull(NAME, { force: true });
    expect((await store.require(NAME)).digest).not.toBe(old.digest);
    expect(await entries("images")).toHaveLength(2);
  });

  it("attaches layers that are whole tars and that hold nothing of the host", async () => {
    let listing = "";
    let settings = "";
    builder.during = async ({ layers }) => {
      listing = (await complete("tar", ["tvf", layers[0]?.path ?? ""])).stdout;
      const path = layers[1]?.path ?? "";
      settings = (
        await complete("tar", ["xOf", path, "./etc/hostname", "./etc/apt/sources.list.d/debian.sources"])
      ).stdout;
    };
    await pulls.pull(NAME);
    const [build] = builder.builds;
    expect(build?.steps.map((step) => step.argv.at(-1))).toEqual([
      "/.pyro-build/install.sh",
      "/.pyro-build/finish.sh",
    ]);
    for (const layer of build?.layers ?? []) expect(layer.sizeBytes % 512).toBe(0);
    expect(listing).toContain("./bin -> usr/bin");
    expect(listing).toContain("./usr/bin/alpha-hard link to ./usr/bin/alpha");
    expect(listing).toContain("./usr/bin/alpha-link -> alpha");
    // Only the essential package is unpacked; both are there to be installed.
    expect(listing).not.toContain("./usr/bin/beta");
    expect(listing).toContain("./.pyro-build/debs/beta_1%3a2.0-1_all.deb");
    expect(settings).toMatch(/^pyro\n/);
    expect(settings).not.toContain("mirror.test");
  });

  it("repacks packages so that dpkg reads them, uncompressed, and the same input gives the same bytes", async () => {
    const hashes: string[] = [];
    let info = "";
    builder.during = async ({ layers }) => {
      const layer = layers[0]?.path ?? "";
      hashes.push(
        createHash("sha256")
          .update(await readFile(layer))
          .digest("hex"),
      );
      const deb = join(host.directory, "out.deb");
      const member = "./.pyro-build/debs/beta_1%3a2.0-1_all.deb";
      await complete("tar", ["xf", layer, "-C", host.directory, "--transform", "s,.*,out.deb,", member]);
      info =
        (await complete("dpkg-deb", ["--info", deb])).stdout +
        (await complete("dpkg-deb", ["-c", deb])).stdout;
      info += (await complete("ar", ["t", deb])).stdout;
    };
    await pulls.pull(NAME);
    await pulls.pull(NAME, { force: true });
    expect(hashes).toHaveLength(2);
    expect(hashes[0]).toBe(hashes[1]);
    expect(info).toContain("Package: beta");
    expect(info).toContain("./bin/beta");
    expect(info).toMatch(/debian-binary\ncontrol\.tar\ndata\.tar\n/);
  });
});

describe("mmdebstrap", () => {
  it("makes the layer where it works, and its tree is gone afterwards", async () => {
    await again({ mmdebstrap: true });
    await pulls.pull(NAME);
    expect((await host.log()).filter((line) => !line.startsWith("/"))).toEqual([
      "update",
      "download",
      "mmdebstrap",
    ]);
    expect(builder.builds[0]?.steps).toHaveLength(1);
    expect(await trees()).toEqual([]);
  });

  it("is replaced by the other way when it fails, unless it was asked for", async () => {
    await again({ mmdebstrap: true });
    await host.sabotage("mmdebstrap", `case "$1" in --mode*) echo "E: no mount" >&2; exit 25;; esac`);
    expect(await pulls.pull(NAME)).toMatchObject({ reused: false });
    expect(builder.builds[0]?.steps).toHaveLength(2);
    const strict = new EnvironmentPulls({
      images: noImages,
      layers: new FakeLayers(),
      store,
      builder,
      host: host.programs,
      way: "mmdebstrap",
    });
    await expect(strict.pull(NAME, { force: true })).rejects.toMatchObject({
      code: "ENVIRONMENT_BUILD_FAILED",
      message: "mmdebstrap failed (exit code 25): E: no mount",
    });
    expect(await trees()).toEqual([]);
  });

  it("names what to install when it was asked for and is not there", async () => {
    await again({ way: "mmdebstrap" });
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      code: "HOST_TOOL_NOT_FOUND",
      hint: "sudo apt-get install -y mmdebstrap uidmap",
    });
  });
});

describe("damage on disk", () => {
  beforeEach(async () => {
    await pulls.pull(NAME);
  });

  const open = async (): Promise<string> => {
    const { path } = await store.require(NAME);
    await chmod(path, 0o644);
    return path;
  };

  it.each([
    [
      "a flipped byte",
      async (path: string) => {
        const bytes = await readFile(path);
        bytes[100] = (bytes[100] ?? 0) ^ 1;
        await writeFile(path, bytes);
      },
    ],
    ["a truncated file", (path: string) => truncate(path, 100)],
    ["a missing file", async (path: string) => rm(path)],
    [
      "a flipped byte with the times set back",
      async (path: string) => {
        const { atime, mtime } = await stat(path);
        const bytes = await readFile(path);
        bytes[100] = (bytes[100] ?? 0) ^ 1;
        await writeFile(path, bytes);
        await utimes(path, atime, mtime);
      },
    ],
  ])("is noticed before use and repaired by a pull: %s", async (_what, damage) => {
    await damage(await open());
    expect((await store.inspect(NAME)).state).toBe("damaged");
    await expect(store.require(NAME)).rejects.toMatchObject({
      code: "ENVIRONMENT_DAMAGED",
      hint: "run `pyro env pull debian:12`: it makes the image again",
    });
    expect(await pulls.pull(NAME)).toMatchObject({ reused: false, repaired: true });
    await store.require(NAME);
    expect(await entries("images")).toHaveLength(1);
    // The packages were still there and whole.
    expect((await host.log()).filter((line) => line === "download")).toHaveLength(1);
  });

  it("is not what a changed time alone means: the image is hashed once and trusted again", async () => {
    const path = await open();
    await utimes(path, 1, 1);
    const manifest = await store.manifest(NAME);
    expect((await store.inspect(NAME)).state).toBe("installed");
    expect((await store.manifest(NAME))?.fingerprint).not.toEqual(manifest?.fingerprint);
  });

  it("of a manifest means that the environment is not there; a pull makes it again", async () => {
    const [file = ""] = await entries("manifests");
    const path = join(store.layout.manifests, file);
    await writeFile(path, (await readFile(path)).subarray(0, 200));
    await expect(store.require(NAME)).rejects.toMatchObject({ code: "ENVIRONMENT_NOT_PULLED" });
    await pulls.pull(NAME);
    const { digest } = await store.require(NAME);
    // The one that lost it is another: nothing tells whose it was.
    expect(await entries("images")).toHaveLength(2);
    await pruneEnvironments(store, { unused: false, inUse: new Set(), pulling: new Set() });
    expect(await entries("images")).toEqual([`${digest.replace(":", "-")}.qcow2`]);
  });

  it("of a fetched package is noticed by its SHA-256, which apt does not look at again", async () => {
    const archives = join(store.layout.packages, "bookworm-amd64", "archives");
    const [deb = ""] = (await readdir(archives)).filter((name) => name.endsWith(".deb"));
    const bytes = await readFile(join(archives, deb));
    bytes[50] = (bytes[50] ?? 0) ^ 1;
    await writeFile(join(archives, deb), bytes);
    await pulls.pull(NAME, { force: true });
    expect((await host.log()).filter((line) => line === "download")).toHaveLength(2);
  });
});

describe("an environment that is not there", () => {
  it("is told apart from an unknown one, with what a pull costs", async () => {
    await expect(store.require(NAME)).rejects.toMatchObject({
      code: "ENVIRONMENT_NOT_PULLED",
      message: 'environment "debian:12" is not on this host',
      hint: "run `pyro env pull debian:12` (about 0 MB)",
    });
    await expect(store.require("Debian:13")).rejects.toMatchObject({ code: "UNKNOWN_ENVIRONMENT" });
    await expect(pulls.pull("Debian:13")).rejects.toMatchObject({ code: "UNKNOWN_ENVIRONMENT" });
    expect((await store.list()).map(({ name, state }) => [name, state])).toEqual([
      ["debian:12", "absent"],
      ["debian:12-base", "absent"],
      ["debian:12-build", "absent"],
    ]);
  });
});
