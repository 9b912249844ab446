import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  EnvironmentPulls,
  EnvironmentStore,
  layoutOf,
  loadCatalogue,
  type EnvironmentPullsOptions,
  type PullProgress,
} from "../../../src/image/index.js";
import { BlobStore, ImagePulls } from "../../../src/oci/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { tarOfFiles } from "../../fakes/fake-archive.js";
import { FakeRegistry } from "../../fakes/fake-registry.js";
import { FakeBuilder } from "./fake-builder.js";
import { fakeHost, type FakeHost } from "./fake-host.js";
import { FakeLayers } from "./fake-layers.js";

const NAME = "debian:12-base";
const BASE = "docker.io/library/debian:bookworm";

const files = (release: string) => new Map([["etc/os-release", Buffer.from(release)]]);

let registry: FakeRegistry;
let host: FakeHost;
let blobs: BlobStore;
let store: EnvironmentStore;
let layers: FakeLayers;
let pulls: EnvironmentPulls;

function pullsWith(options: Partial<EnvironmentPullsOptions> = {}): EnvironmentPulls {
  const registries = {
    mirrors: { "docker.io": [`http://${registry.name}`] },
    insecure: [registry.name],
  };
  const images = new ImagePulls({ store: blobs, registries });
  return new EnvironmentPulls({
    ...{ images: () => Promise.resolve(images), store, layers, host: host.programs },
    builder: new FakeBuilder(join(host.directory, "log")),
    ...options,
  });
}

beforeEach(async () => {
  registry = await FakeRegistry.start();
  registry.addImage("library/debian", "bookworm", { layers: [tarOfFiles(files("Debian"))] });
  host = await fakeHost({ mmdebstrap: true });
  blobs = await BlobStore.open(join(host.directory, "oci"));
  store = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
  layers = new FakeLayers(join(host.directory, "log"));
  pulls = pullsWith();
});
afterEach(async () => {
  await pulls.close();
  await blobs[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

const sources = join("sources.d", "debian.sources");
const write = (name: string, text: string): Promise<void> => writeFile(join(host.directory, name), text);
const done = async (): Promise<string[]> => (await host.log()).filter((line) => !line.startsWith("/"));

describe("a curated environment", () => {
  it.each<[string, () => Promise<void>]>([
    ["has no apt-get", () => host.remove("apt-get")],
    ["has no apt-config", () => host.remove("apt-config")],
    ["has no dpkg-deb", () => host.remove("dpkg-deb")],
    ["has an apt without sources", () => write(sources, "")],
    [
      "is another distribution with apt",
      () => write(sources, "Types: deb\nURIs: http://ubuntu.test\nSuites: noble\nComponents: main\n"),
    ],
  ])("is made over the distribution's image where the host %s", async (_, change) => {
    await change();
    expect(await pulls.fetchesPackages(AbortSignal.timeout(5_000))).toBe(false);
    expect(await pulls.pull(NAME)).toMatchObject({ reused: false });
    expect(await done()).toEqual(["disk", "build", "install", "settle", "convert"]);
  });

  it.each(["mmdebstrap", "none of these"])(
    "is made by the host's apt where the host lacks %s",
    async (program) => {
      if (program === "mmdebstrap") await host.remove(program);
      expect(await pulls.fetchesPackages(AbortSignal.timeout(5_000))).toBe(true);
      await pulls.pull(NAME);
      expect(await done()).toContain("download");
      expect(layers.requests).toEqual([]);
      expect(await store.manifest(BASE)).toBeUndefined();
    },
  );
});

describe("an environment made over an image", () => {
  beforeEach(() => host.remove("apt-get"));

  it("is one of the catalogue: its recipe, what is installed, and nothing that the image says of commands", async () => {
    const progress: PullProgress[] = [];
    const result = await pulls.pull(NAME, { onProgress: (each) => progress.push(each) });
    const recipe = store.catalogue.environments.get(NAME);
    expect(result.environment).toMatchObject({ name: NAME, source: "curated", state: "installed" });
    const image = await store.require(NAME);
    expect(image).toMatchObject({
      recipe: recipe?.digest,
      packages: [
        { name: "alpha", version: "1:2.0-1" },
        { name: "beta", version: "1:2.0-1" },
      ],
    });
    expect([image.config, image.origin]).toEqual([undefined, undefined]);
    const told = progress.map(({ message }) => message);
    expect(told).toEqual(
      expect.arrayContaining([
        ...[`${BASE}: 1 of 1 layers`, "installing packages", "fetching alpha", "Setting up alpha"],
      ]),
    );
    expect(await readdir(store.layout.pulls)).toEqual([]);
    expect(layers.held.size).toBe(0);
    const listed = await store.list();
    expect(
      listed.filter(({ state }) => state === "installed").map(({ name, source }) => [name, source]),
    ).toEqual([
      [NAME, "curated"],
      [BASE, "image"],
    ]);
  });

  it("has its packages installed in a machine with a network, and is settled in one without", async () => {
    await pulls.pull(NAME);
    const [install, settle] = layers.requests;
    const recipe = store.catalogue.environments.get(NAME);
    expect(install?.argv.slice(0, 4)).toEqual([
      ...["/bin/sh", "-c", await readFile(join(host.catalogueDirectory, "over-image.sh"), "utf8"), "sh"],
    ]);
    expect(install?.argv.slice(4)).toEqual(recipe?.packages);
    expect(install).toMatchObject({ below: [], network: { mirrors: [] } });
    expect(settle?.network).toBeUndefined();
    expect(settle?.below).toEqual([install?.target]);
    expect(layers.unpacked).toContain("pyro\n127.0.0.1 localhost pyro\n");
    expect(layers.unpacked).toContain("# No package source");
  });

  it("is used as it is while its recipe is the same, and made anew by force, with the tag looked up again", async () => {
    await pulls.pull(NAME);
    expect(await pulls.pull(NAME)).toMatchObject({ reused: true });
    const before = registry.requests.length;
    await pulls.pull("debian:12");
    // The image is here.
    expect(registry.requests.length).toBe(before);
    const content = tarOfFiles(files("a newer Debian"));
    const newer = registry.addImage("library/debian", "bookworm", { layers: [content] });
    expect(await pulls.pull(NAME, { force: true })).toMatchObject({ reused: false });
    expect((await store.require(BASE)).recipe).toBe(newer.digest);
    expect(layers.requests).toHaveLength(6);
  });

  it("goes on behind its packages where only the rest failed", async () => {
    await host.sabotage("qemu-img", `case "$*" in *settled*) echo "qemu-img: broken" >&2; exit 1;; esac`);
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      message: expect.stringMatching(/broken/) as string,
    });
    const place = join(store.layout.pulls, "debian_12-base");
    expect((await readdir(place)).sort()).toEqual(["installed.json", "installed.qcow2", "lock"]);
    await pulls.sweepStale();
    await host.sabotage("qemu-img", ":;");
    await write(
      "bin/qemu-img",
      (await readFile(join(host.path, "qemu-img"), "utf8")).replace(/^case.*settled.*$/m, ""),
    );
    await pulls.pull(NAME);
    expect((await done()).filter((line) => line === "install")).toHaveLength(1);
    // Packages over another image are other packages.
    await expect(readdir(place)).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("the mirrors that the user names", () => {
  const named = async (text: string, name = "mirror.list"): Promise<string> => {
    await mkdir(join(host.directory, "config"), { recursive: true });
    const path = join(host.directory, "config", name);
    await writeFile(path, text);
    return path;
  };

  it("are what the machine may reach, wherever they are", async () => {
    await host.remove("apt-get");
    const path = await named("deb [check-valid-until=no] http://10.1.2.3/debian trixie main\n");
    pulls = pullsWith({ aptSources: [path] });
    await pulls.pull(NAME);
    expect(layers.requests[0]?.network?.mirrors).toEqual([
      { uris: ["http://10.1.2.3/debian"], suites: ["bookworm"], components: ["main"], checkValidUntil: "no" },
    ]);
  });

  it("take the place of what the host's apt has", async () => {
    const text = "Types: deb\nURIs: http://10.1.2.3/debian\nSuites: bookworm\nComponents: main\n";
    pulls = pullsWith({ aptSources: [await named(text, "mirror.sources")] });
    await pulls.pull(NAME);
    expect(layers.requests).toEqual([]);
    const used = await readFile(join(store.layout.packages, "bookworm-amd64", "host.sources"), "utf8");
    expect(used).toBe(text);
  });

  it("have to be there, and Debian's", async () => {
    await host.remove("apt-get");
    pulls = pullsWith({ aptSources: ["/nonexistent/mirror.list"] });
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: "apt_sources names /nonexistent/mirror.list, which cannot be read (ENOENT)",
    });
    const path = await named("deb http://10.1.2.3/ubuntu noble main\n");
    pulls = pullsWith({ aptSources: [path] });
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: `apt_sources names files without a source of Debian: ${path}`,
    });
    expect(layers.requests).toEqual([]);
  });
});

describe("what fails of it", () => {
  beforeEach(() => host.remove("apt-get"));

  const reason = "the network policy refuses 10.1.2.3 (mirror.test): it is private";
  it.each([
    ["", undefined, "check that this host reaches its Debian mirror, then try again"],
    [
      `; the machine was kept from the network: ${reason}`,
      { reason, hint: "only the user can allow it" },
      expect.stringContaining('apt_sources = ["') as string,
    ],
  ])("is told with apt's own words%s", async (more, refusal, hint) => {
    const printed = "Get:1 http://mirror.test bookworm InRelease\nE: Unable to locate package bash\n";
    layers.installing = { exitCode: 100, how: "exit 100", printed, ...(refusal && { refusal }) };
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      code: "ENVIRONMENT_BUILD_FAILED",
      message: `${NAME}: installing packages over ${BASE} failed (exit 100): E: Unable to locate package bash${more}`,
      ...{ hint, retryable: true },
    });
    expect(await readdir(store.layout.pulls)).toEqual([]);
    expect((await store.inspect(NAME)).state).toBe("absent");
    expect(layers.held.size).toBe(0);
  });

  it("is what the registry fails with, before any machine", async () => {
    const unreachable = new PyroError("REGISTRY_UNREACHABLE", "no route", { hint: "try again" });
    pulls = pullsWith({ images: () => Promise.reject(unreachable) });
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      code: "REGISTRY_UNREACHABLE",
      message: "no route",
      hint: "try again; where that registry cannot be reached, name a mirror of docker.io under [mirrors] in ~/.config/pyro/config.toml",
    });
    expect(layers.requests).toEqual([]);
    expect(await readdir(store.layout.pulls)).toEqual([]);
  });

  it("is a host without what any environment needs, with one command for all of it", async () => {
    for (const program of ["setpriv", "qemu-img"]) await host.remove(program);
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      code: "HOST_TOOL_NOT_FOUND",
      message: "this host lacks qemu-img, setpriv, needed to make environments",
    });
    expect(registry.requests).toEqual([]);
  });

  it("is nothing that whoever leaves waits for", async () => {
    const leaving = new AbortController();
    const pulling = pulls.pull(NAME, {
      signal: leaving.signal,
      onProgress: ({ message }) => message === "installing packages" && leaving.abort(),
    });
    await expect(pulling).rejects.toMatchObject({ name: "AbortError" });
    expect(await readdir(store.layout.pulls)).toEqual([]);
  });
});
