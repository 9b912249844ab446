import { chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  EnvironmentPulls,
  EnvironmentStore,
  layoutOf,
  loadCatalogue,
  pruneEnvironments,
} from "../../../src/image/index.js";
import { FakeBuilder, noImages } from "./fake-builder.js";
import { FakeLayers } from "./fake-layers.js";
import { fakeHost, type FakeHost } from "./fake-host.js";

const NOTHING = { unused: false, inUse: new Set<string>(), pulling: new Set<string>() };
let host: FakeHost;
let store: EnvironmentStore;
let builder: FakeBuilder;
let pulls: EnvironmentPulls;

beforeEach(async () => {
  host = await fakeHost();
  store = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
  builder = new FakeBuilder();
  pulls = new EnvironmentPulls({
    images: noImages,
    layers: new FakeLayers(),
    store,
    builder,
    host: host.programs,
  });
});
afterEach(() => host[Symbol.asyncDispose]());

describe("pruning environments", () => {
  it("does nothing where nothing is", async () => {
    expect(await pruneEnvironments(store, NOTHING)).toEqual({ removed: [], freedBytes: 0 });
  });

  it("removes leftovers and fetched packages, and keeps what is installed", async () => {
    await pulls.pull("debian:12");
    const { digest } = await store.require("debian:12");
    const orphan = `sha256-${"0".repeat(64)}.qcow2`;
    await writeFile(join(store.layout.images, orphan), "x".repeat(10_000));
    await writeFile(join(store.layout.images, "strange"), "x");
    await writeFile(join(store.layout.manifests, "gone_1.json"), "{}");
    await mkdir(join(store.layout.pulls, "debian_12-base"), { recursive: true });
    const { removed, freedBytes } = await pruneEnvironments(store, NOTHING);
    expect([...removed].sort()).toEqual([
      "packages",
      "pull of debian:12-base",
      `sha256:${"0".repeat(64)}`,
      "strange",
    ]);
    expect(freedBytes).toBeGreaterThan(10_000);
    expect(await readdir(store.layout.images)).toEqual([`${digest.replace(":", "-")}.qcow2`]);
    expect(await readdir(store.layout.manifests)).toEqual(["debian_12.json"]);
    await store.require("debian:12");
  });

  it("removes all that is installed when asked, but not what a machine uses or a pull makes", async () => {
    await pulls.pull("debian:12");
    builder.during = async ({ layers }) => {
      await chmod(layers[0]?.path ?? "", 0o644);
      await writeFile(layers[0]?.path ?? "", "other content".repeat(100));
    };
    await pulls.pull("debian:12-base");
    const { digest } = await store.require("debian:12");
    await mkdir(join(store.layout.pulls, "debian_12-build"), { recursive: true });
    const { removed } = await pruneEnvironments(store, {
      unused: true,
      inUse: new Set([digest]),
      pulling: new Set(["debian:12-build"]),
    });
    expect(removed).toContain("debian:12-base");
    expect(removed).not.toContain("packages");
    await store.require("debian:12");
    expect((await store.inspect("debian:12-base")).state).toBe("absent");
    expect(await readdir(store.layout.pulls)).toEqual(["debian_12-build"]);
  });
});

describe("what a start sweeps", () => {
  const directory = (name: string): string => join(store.layout.pulls, name);

  it("is pulls of unknown or present environments and files that no record speaks of; the rest is kept", async () => {
    await pulls.pull("debian:12");
    for (const name of ["debian_12", "unknown_1", "debian_12-base"]) {
      await mkdir(directory(name), { recursive: true });
      for (const file of ["fetched.json", "content.tar", "unpacked.qcow2", "image.qcow2"]) {
        await writeFile(join(directory(name), file), "{}");
      }
    }
    await writeFile(join(store.layout.manifests, "debian_12.json.abc.tmp"), "{");
    await pulls.sweepStale();
    expect(await readdir(store.layout.pulls)).toEqual(["debian_12-base"]);
    expect((await readdir(directory("debian_12-base"))).sort()).toEqual(["fetched.json", "lock"]);
    expect(await readdir(store.layout.manifests)).toEqual(["debian_12.json"]);
    await store.require("debian:12");
  });

  it("never is a path outside the place for trees, whatever a note says", async () => {
    const victim = join(host.directory, "victim");
    await mkdir(victim);
    await mkdir(directory("debian_12"), { recursive: true });
    await writeFile(join(directory("debian_12"), "tree-path"), victim);
    await pulls.sweepStale();
    expect(await readdir(host.directory)).toContain("victim");
    expect(await readdir(directory("debian_12"))).toEqual(["lock"]);
  });
});
