import { readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  EnvironmentPulls,
  EnvironmentStore,
  HostPrograms,
  layoutOf,
  loadCatalogue,
  toolRemedy,
  type PullProgress,
} from "../../../src/image/index.js";
import { baseEnvironment, complete } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { FAILPOINTS, prefixOf } from "../../failpoints.js";
import { layoutOfImages, tarOfFiles } from "../../fakes/fake-archive.js";
import { FakeRegistry } from "../../fakes/fake-registry.js";
import { FakeBuilder, noImages } from "./fake-builder.js";
import { FakeLayers } from "./fake-layers.js";
import { fakeHost, type FakeHost } from "./fake-host.js";

const NAME = "debian:12";
let child: string;
let host: FakeHost;
let store: EnvironmentStore;
let builder: FakeBuilder;
let pulls: EnvironmentPulls;

beforeAll(async () => {
  const { outputFiles } = await build({
    entryPoints: [new URL("./pull-child.ts", import.meta.url).pathname],
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    // What is bundled of npm's packages asks for Node's own modules by it.
    banner: {
      js: 'import { createRequire as testRequire } from "node:module";const require = testRequire(import.meta.url);',
    },
    write: false,
  });
  child = outputFiles[0]?.text ?? "";
});

beforeEach(async () => {
  host = await fakeHost({ mmdebstrap: true });
  store = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
  builder = new FakeBuilder(join(host.directory, "log"));
  pulls = new EnvironmentPulls({
    images: noImages,
    layers: new FakeLayers(),
    store,
    builder,
    host: host.programs,
  });
  await writeFile(join(host.directory, "child.mjs"), child);
});

afterEach(async () => {
  await pulls.close();
  await host[Symbol.asyncDispose]();
});

const entries = async (name: "images" | "manifests" | "pulls"): Promise<string[]> =>
  await readdir(store.layout[name]).catch(() => []);
const phases = async (): Promise<string[]> => (await host.log()).filter((line) => !line.startsWith("/"));

/** Pulls in a process of its own. */
async function pullInChild(
  env: Record<string, string> = {},
  prefix: readonly string[] = [],
  what: readonly string[] = [NAME],
) {
  const args = [process.execPath, join(host.directory, "child.mjs"), host.directory, ...what];
  return await complete("env", ["--", ...prefix, ...args], { env: { ...baseEnvironment(), ...env } });
}

describe("a pull whose process is killed", () => {
  const all = ["update", "download", "mmdebstrap", "disk", "build"];
  const expectations: Readonly<Record<string, readonly string[]>> = {
    "pull.fetch": all,
    // apt keeps what it fetched, so that only the lists are read again.
    "pull.fetched": ["update", "mmdebstrap", "disk", "build"],
    "pull.assemble": ["mmdebstrap", "disk", "build"],
    "pull.assembled": ["mmdebstrap", "disk", "build"],
    "pull.unpack": ["disk", "build"],
    "pull.unpacked": ["disk", "build"],
    "pull.seal": [],
    "pull.hashed": [],
    // The disk has another place already.
    "pull.renamed": ["disk", "build"],
    "pull.sealed": [],
  };
  // Each that the source has: one that is not expected here fails.
  it.each(FAILPOINTS.filter((name) => prefixOf(name) === "pull"))(
    "at %s goes on with what was finished, and leaves nothing behind",
    async (point) => {
      const killed = await pullInChild({ PYRO_FAILPOINT: point });
      expect(killed.signal).toBe("SIGKILL");
      const before = await phases();
      const resumed = await pullInChild();
      expect(resumed).toMatchObject({
        code: 0,
        stdout: `${JSON.stringify({ reused: point === "pull.sealed" })}\n`,
      });
      expect((await phases()).slice(before[0] === "" ? 0 : before.length)).toEqual(expectations[point]);
      const image = await store.require(NAME);
      expect((await stat(image.path)).mode & 0o777).toBe(0o444);
      expect(await entries("images")).toHaveLength(1);
      expect(await entries("manifests")).toEqual(["debian_12.json"]);
      expect(await entries("pulls")).toEqual([]);
    },
  );

  it("with its host unpacks again: what was written may not have come to the disk", async () => {
    await pullInChild({ PYRO_FAILPOINT: "pull.seal" });
    const path = join(store.layout.pulls, "debian_12/unpacked.json");
    const record = JSON.parse(await readFile(path, "utf8")) as { boot: string };
    expect(record.boot).toBe((await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim());
    await writeFile(path, JSON.stringify({ ...record, boot: "an earlier one" }));
    const before = await phases();
    expect((await pullInChild()).code).toBe(0);
    expect((await phases()).slice(before.length)).toEqual(["disk", "build"]);
  });

  it.each(FAILPOINTS.filter((name) => prefixOf(name) === "image"))(
    "at %s, of an image, leaves an environment or none, and the next pull makes it",
    async (point) => {
      const archive = join(host.directory, "image.tar");
      await writeFile(archive, tarOfFiles(layoutOfImages({ seed: 1 })));
      const what = ["tools:1", archive];
      expect((await pullInChild({ PYRO_FAILPOINT: point }, [], what)).signal).toBe("SIGKILL");
      const isThere = point === "image.sealed";
      expect(await entries("manifests")).toEqual(isThere ? ["tools_1.json"] : []);
      const resumed = await pullInChild({}, [], what);
      expect(resumed.stdout).toBe(`${JSON.stringify({ reused: isThere })}\n`);
      await store.require("tools:1");
      expect(await entries("images")).toHaveLength(1);
      expect(await entries("pulls")).toEqual([]);
      expect(await readdir(join(host.directory, "oci/partial"))).toEqual([]);
    },
  );

  it.each(FAILPOINTS.filter((name) => prefixOf(name) === "over"))(
    "at %s, of one made over an image, goes on behind the packages where they are installed",
    async (point) => {
      await host.remove("apt-get");
      await using registry = await FakeRegistry.start();
      registry.addImage("library/debian", "bookworm", { layers: [tarOfFiles(new Map())] });
      const what = [NAME, `http://${registry.name}`];
      expect((await pullInChild({ PYRO_FAILPOINT: point }, [], what)).signal).toBe("SIGKILL");
      const killedAfter = (await phases()).length;
      const resumed = await pullInChild({}, [], what);
      const isThere = point === "over.sealed";
      expect(resumed.stdout).toBe(`${JSON.stringify({ reused: isThere })}\n`);
      const rest = (await phases()).slice(killedAfter === 1 ? 0 : killedAfter);
      const isBefore = ["over.base", "over.install", "over.installed"].includes(point);
      expect(rest.filter((line) => line === "install")).toHaveLength(isBefore ? 1 : 0);
      // The image is fetched and unpacked once.
      expect(rest.filter((line) => line === "build")).toHaveLength(point === "over.base" ? 1 : 0);
      expect(registry.requests.filter(({ path }) => path.includes("/blobs/")).length).toBe(2);
      await store.require(NAME);
      expect((await entries("manifests")).sort()).toEqual([
        "debian_12.json",
        "docker.io%2Flibrary%2Fdebian_bookworm.json",
      ]);
      expect(await entries("images")).toHaveLength(2);
      expect(await entries("pulls")).toEqual([]);
    },
  );

  it("in the middle of mmdebstrap leaves no process, and the next start removes its tree", async () => {
    await host.sabotage(
      "mmdebstrap",
      `case "$1" in --mode*) mkdir "$TMPDIR/half"; echo "$$ $TMPDIR" >"$FAKE/running"; trap "" TERM; sleep 60;; esac`,
    );
    // Dies as soon as the stand-in runs.
    const watcher = `"$@" & until [ -s "$RUNNING" ]; do sleep 0.1; done; kill -9 $!`;
    await pullInChild({ RUNNING: join(host.directory, "running") }, ["sh", "-c", watcher, "sh"]);
    const [pid = "", tree = ""] = (await readFile(join(host.directory, "running"), "utf8")).trim().split(" ");
    await expect.poll(() => processState(pid), { timeout: 5_000 }).toBe("gone");
    expect(await readdir(tree)).toEqual(["half"]);
    await pulls.sweepStale();
    await expect(readdir(tree)).rejects.toMatchObject({ code: "ENOENT" });
  });
});

/** A killed process may wait, as a zombie, for the init of a container to reap it. */
async function processState(pid: string): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return text === "" || / Z /.test(text) ? "gone" : "running";
}

describe("several who pull the same environment", () => {
  it("share one pull and its progress", async () => {
    const seen: PullProgress[][] = [[], [], []];
    const results = await Promise.all(
      seen.map((each) => pulls.pull(NAME, { onProgress: (progress) => each.push(progress) })),
    );
    expect(results.map(({ reused }) => reused)).toEqual([false, false, false]);
    expect((await phases()).filter((line) => line === "build")).toHaveLength(1);
    for (const each of seen) expect(each.at(-1)?.phase).toBe("seal");
  });

  it("may leave one by one; the pull ends with the last, and leaves only what the next can use", async () => {
    const first = new AbortController();
    const second = new AbortController();
    let reached = (): void => undefined;
    const building = new Promise<void>((resolve) => (reached = resolve));
    builder.during = (build) =>
      new Promise((_, reject) => {
        build.signal?.addEventListener("abort", () => reject(build.signal?.reason as Error));
        reached();
      });
    const one = pulls.pull(NAME, { signal: first.signal });
    const two = pulls.pull(NAME, { signal: second.signal });
    await building;
    expect(pulls.progressOf(NAME)?.phase).toBe("unpack");
    first.abort(new PyroError("CANCELLED", "one left"));
    await expect(one).rejects.toThrow("one left");
    expect(pulls.progressOf(NAME)).toBeDefined();
    second.abort(new PyroError("CANCELLED", "two left"));
    await expect(two).rejects.toThrow("two left");
    expect(pulls.progressOf(NAME)).toBeUndefined();
    const kept = await readdir(join(store.layout.pulls, "debian_12"));
    expect(kept.sort()).toEqual(["assembled.json", "content.tar", "fetched.json", "lock", "settings.tar"]);
    builder.during = () => Promise.resolve();
    await pulls.pull(NAME);
    expect((await phases()).filter((line) => line === "mmdebstrap")).toHaveLength(1);
    expect(await entries("pulls")).toEqual([]);
  });

  it("get a pull of their own when they force one that the running pull would not be", async () => {
    await pulls.pull(NAME);
    const [reused, forced] = await Promise.all([pulls.pull(NAME), pulls.pull(NAME, { force: true })]);
    expect([reused.reused, forced.reused]).toEqual([true, false]);
  });

  it("are told apart when they are processes of their own", async () => {
    builder.during = async () => {
      const other = await pullInChild();
      expect(other.code).toBe(3);
      expect(JSON.parse(other.stdout)).toMatchObject({ code: "ENVIRONMENT_BUSY", retryable: true });
    };
    await pulls.pull(NAME);
    expect(builder.builds).toHaveLength(1);
  });

  it("do not start when they are cancelled already, and are ended when pyro stops", async () => {
    await expect(pulls.pull(NAME, { signal: AbortSignal.abort(new Error("no")) })).rejects.toThrow("no");
    builder.during = (build) =>
      new Promise((_, reject) => {
        build.signal?.addEventListener("abort", () => reject(build.signal?.reason as Error));
        void pulls.close();
      });
    await expect(pulls.pull(NAME)).rejects.toMatchObject({ code: "CANCELLED" });
  });
});

describe("what goes wrong on the host", () => {
  it("is named with one command that installs all that is missing", async () => {
    await host.remove("qemu-img");
    await host.remove("setpriv");
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      code: "HOST_TOOL_NOT_FOUND",
      message: "this host lacks qemu-img, setpriv, needed to make environments",
      hint: toolRemedy(["qemu-img", "setpriv"], "debian").hint,
    });
    const missing = (await host.programs.check()).filter((tool) => !tool.found);
    expect(missing.map(({ program }) => program).sort()).toEqual(["newuidmap", "qemu-img", "setpriv"]);
  });

  it("is what apt says, when the mirror cannot be reached", async () => {
    await host.sabotage(
      "apt-get",
      `case "$*" in *update) echo "E: Could not resolve 'mirror.test'" >&2; exit 100;; esac`,
    );
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      code: "ENVIRONMENT_BUILD_FAILED",
      message: "apt-get update failed (exit code 100): E: Could not resolve 'mirror.test'",
      retryable: true,
    });
  });

  it("is a fetched package that does not match the signed lists", async () => {
    await host.sabotage(
      "apt-get",
      `case "$*" in *--download-only*) echo x >>"$FAKE/pool/$(ls "$FAKE/pool" 2>/dev/null | head -1)beta_1%3a2.0-1_all.deb";; esac`,
    );
    await expect(pulls.pull(NAME)).rejects.toMatchObject({
      code: "ENVIRONMENT_BUILD_FAILED",
      message: "fetched packages are damaged: beta",
    });
  });

  it("is a suite without packages", async () => {
    await writeFile(join(host.directory, "uris"), "Reading package lists...\n");
    await expect(pulls.pull(NAME)).rejects.toMatchObject({ message: "apt finds no packages for bookworm" });
  });

  it.each([
    ["qemu-img", 'echo "qemu-img: error while writing: No space left on device" >&2; exit 1'],
    [
      "apt-get",
      `case "$*" in *--download-only*) echo "E: Write error - write (28: No space left on device)"; exit 100;; esac`,
    ],
  ])("is a full disk that %s met", async (program, script) => {
    // Only what lay packed on the disk is copied by qemu-img.
    if (program === "qemu-img") await host.remove("mmdebstrap");
    await host.sabotage(program, script);
    await meetsFullDisk();
  });

  it("is a full disk that the environment's own was copied to", async () => {
    builder.makeDisk = () =>
      Promise.reject(
        Object.assign(new Error("ENOSPC: no space left on device, copyfile"), { code: "ENOSPC" }),
      );
    await meetsFullDisk();
  });

  async function meetsFullDisk(): Promise<void> {
    await expect(pulls.pull(NAME)).rejects.toMatchObject({ code: "DISK_FULL", retryable: true });
    await pulls.close();
    // Nothing at all where nothing was finished.
    for (const entry of await readdir(join(store.layout.pulls, "debian_12")).catch(() => [])) {
      expect([
        "lock",
        "fetched.json",
        "assembled.json",
        "content.tar",
        "settings.tar",
        "unpacked.json",
        "unpacked.qcow2",
      ]).toContain(entry);
    }
  }

  it("is a disk with too little space, noticed before the work", async () => {
    const file = join(host.catalogueDirectory, "debian-12.json");
    const recipe = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
    await writeFile(file, JSON.stringify({ ...recipe, installed_bytes: 1e15 }));
    const greedy = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
    const pull = new EnvironmentPulls({
      images: noImages,
      layers: new FakeLayers(),
      store: greedy,
      builder,
      host: host.programs,
    }).pull(NAME);
    await expect(pull).rejects.toMatchObject({ code: "DISK_FULL", details: { needed_bytes: 1e15 } });
    expect(await phases()).not.toContain("mmdebstrap");
  });

  it("is a limit on file sizes: the pull fails as on a full disk, and leaves only what the next can use", async () => {
    await host.remove("mmdebstrap");
    // In blocks of 512 bytes: the lists and packages fit, the layer does not.
    const limited = await pullInChild({}, ["sh", "-c", `trap '' XFSZ; ulimit -f 8; exec "$@"`, "sh"]);
    expect(limited.code).toBe(3);
    expect(JSON.parse(limited.stdout)).toMatchObject({ code: "DISK_FULL" });
    const kept = await readdir(join(store.layout.pulls, "debian_12"));
    expect(kept.sort()).toEqual(["fetched.json", "lock"]);
    await pulls.pull(NAME);
    expect(await entries("pulls")).toEqual([]);
  });

  it("is nothing to an ordinary PATH: the host's own tools are found", async () => {
    const found = (await new HostPrograms().check()).filter((tool) => tool.found).map((tool) => tool.program);
    expect(found).toEqual(expect.arrayContaining(["apt-get", "dpkg-deb"]));
  });
});
