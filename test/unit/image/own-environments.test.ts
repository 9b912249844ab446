import { mkdir, readdir, readFile, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  deleteEnvironment,
  EnvironmentStore,
  layoutOf,
  loadCatalogue,
  OwnPlace,
  pruneEnvironments,
} from "../../../src/image/index.js";
import { HostPrograms } from "../../../src/image/host-tools.js";
import { LastUse } from "../../../src/image/last-use.js";
import { manifestPath } from "../../../src/image/layout.js";
import { sharedBytes } from "../../../src/image/sharing.js";
import { sweepPulls } from "../../../src/image/sweep.js";
import { installFakeEnvironment } from "../../fakes/fake-environment.js";
import { fakeHost, type FakeHost } from "./fake-host.js";

let host: FakeHost;
let store: EnvironmentStore;
beforeEach(async () => {
  host = await fakeHost();
  store = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
});
afterEach(() => host[Symbol.asyncDispose]());

const NOBODY = { users: () => [], pulling: new Set<string>() };
const NOTHING = { unused: false, inUse: new Set<string>(), pulling: new Set<string>() };
const DAY_MS = 24 * 3600_000;
/** An environment of some source; all of them have one image. */
async function install(name: string, change: Record<string, unknown> = {}): Promise<string> {
  const path = await installFakeEnvironment(host.cache, name);
  const manifest = JSON.parse(await readFile(manifestPath(store.layout, name), "utf8")) as object;
  await writeFile(manifestPath(store.layout, name), JSON.stringify({ ...manifest, ...change }));
  return path;
}
const names = async (): Promise<string[]> => (await store.manifests()).map(({ name }) => name).sort();

describe("the place of an environment that is made", () => {
  it("is one maker's at a time, and gone afterwards", async () => {
    {
      await using place = await OwnPlace.open(store, "tools:1", { overwrite: false });
      await writeFile(place.path("disk.qcow2"), "x");
      await expect(OwnPlace.open(store, "tools:1", { overwrite: false })).rejects.toMatchObject({
        code: "ENVIRONMENT_BUSY",
        retryable: true,
      });
    }
    expect(await readdir(store.layout.pulls)).toEqual([]);
  });

  it("is nobody's where the name is taken, one of pyro's own, or none", async () => {
    await install("tools:1", { source: "workspace" });
    const open = (name: string, overwrite = false): Promise<OwnPlace> =>
      OwnPlace.open(store, name, { overwrite });
    await expect(open("tools:1")).rejects.toMatchObject({ code: "ENVIRONMENT_EXISTS" });
    await expect(open("debian:12", true)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(open("Tools")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await readdir(store.layout.pulls)).toEqual([]);
    await (await open("tools:1", true))[Symbol.asyncDispose]();
  });

  it("is removed by the next daemon where its maker was killed", async () => {
    await mkdir(join(store.layout.pulls, "tools_1"), { recursive: true });
    await writeFile(join(store.layout.pulls, "tools_1", "disk.qcow2"), "x");
    await sweepPulls(store, new HostPrograms());
    expect(await readdir(store.layout.pulls)).toEqual([]);
  });
});

describe("deleting an environment", () => {
  it("removes it with its image, unless another has the same", async () => {
    const path = await install("tools:1", { source: "workspace" });
    await install("tools:2", { source: "build" });
    expect(await deleteEnvironment(store, "tools:1", NOBODY)).toEqual({ name: "tools:1", freedBytes: 0 });
    await store.require("tools:2");
    const { freedBytes } = await deleteEnvironment(store, "tools:2", NOBODY);
    expect(freedBytes).toBeGreaterThan(0);
    expect(await readdir(store.layout.images)).toEqual([]);
    expect(await names()).toEqual([]);
    await expect(readFile(path)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("is refused while somebody uses it, is pulled, or where there is none", async () => {
    await install("debian:12");
    const used = { ...NOBODY, users: () => ["ws-1 (w)", "ws-2"] };
    await expect(deleteEnvironment(store, "debian:12", used)).rejects.toMatchObject({
      code: "ENVIRONMENT_IN_USE",
      message: expect.stringContaining("ws-1 (w), ws-2") as string,
    });
    const pulling = { ...NOBODY, pulling: new Set(["debian:12"]) };
    await expect(deleteEnvironment(store, "debian:12", pulling)).rejects.toMatchObject({
      code: "ENVIRONMENT_BUSY",
    });
    await expect(deleteEnvironment(store, "debian:12-base", NOBODY)).rejects.toMatchObject({
      code: "ENVIRONMENT_NOT_PULLED",
    });
    await expect(deleteEnvironment(store, "No Name", NOBODY)).rejects.toMatchObject({
      code: "UNKNOWN_ENVIRONMENT",
    });
    await store.require("debian:12");
  });

  it("leaves the image to whoever began to use it meanwhile", async () => {
    await install("tools:1", { source: "workspace" });
    let asked = 0;
    const users = (): string[] => (asked++ === 0 ? [] : ["ws-1"]);
    expect(await deleteEnvironment(store, "tools:1", { ...NOBODY, users })).toMatchObject({ freedBytes: 0 });
    expect(await readdir(store.layout.images)).toHaveLength(1);
  });
});

describe("the last use of an environment", () => {
  it("is noted when a machine takes it, survives, and goes with it", async () => {
    await install("tools:1", { source: "workspace" });
    expect((await store.inspect("tools:1")).image?.lastUsedAtMs).toBeUndefined();
    const before = Date.now();
    await store.take("tools:1");
    const next = new EnvironmentStore(store.catalogue, store.layout);
    const { lastUsedAtMs = 0 } = (await next.inspect("tools:1")).image ?? {};
    expect(lastUsedAtMs).toBeGreaterThanOrEqual(before - 1);
    expect(lastUsedAtMs).toBeLessThanOrEqual(Date.now() + 1);
    await deleteEnvironment(store, "tools:1", NOBODY);
    expect(await readdir(store.layout.uses)).toEqual([]);
  });

  it("is written at most once a minute", async () => {
    const uses = new LastUse(store.layout);
    await uses.note("a", 1_000_000);
    await uses.note("a", 1_059_999);
    expect(await uses.of("a")).toBe(1_000_000);
    await uses.note("a", 1_060_000);
    expect(await uses.of("a")).toBe(1_060_000);
    // A clock that was set back.
    await uses.note("a", 500_000);
    expect(await uses.of("a")).toBe(500_000);
  });

  it("that cannot be written keeps nobody from using it", async () => {
    await install("debian:12");
    await writeFile(store.layout.uses, "no directory");
    await store.take("debian:12");
  });
});

describe("pruning by use", () => {
  const ago = async (name: string, days: number): Promise<void> => {
    await store.lastUse.note(name);
    const at = new Date(Date.now() - days * DAY_MS);
    await utimes(join(store.layout.uses, name.replace(":", "_")), at, at);
  };

  it("removes what was pulled and not used for so long, and never what was made here", async () => {
    await install("debian:12");
    await install("debian:12-base", { created_at_ms: Date.now() - 60 * DAY_MS });
    await install("tools:1", { source: "workspace", created_at_ms: 0 });
    await install("tools:2", { source: "archive", created_at_ms: 0 });
    await ago("debian:12", 31);
    const before = (days: number) => ({ ...NOTHING, unused: true, usedBeforeMs: Date.now() - days * DAY_MS });
    expect([...(await pruneEnvironments(store, { ...before(30), dryRun: true })).removed].sort()).toEqual([
      ...["debian:12", "debian:12-base"],
    ]);
    expect(await names()).toHaveLength(4);
    await pruneEnvironments(store, before(45));
    expect(await names()).toEqual(["debian:12", "tools:1", "tools:2"]);
    await pruneEnvironments(store, before(30));
    expect(await names()).toEqual(["tools:1", "tools:2"]);
    await pruneEnvironments(store, { ...NOTHING, unused: true });
    expect(await names()).toEqual(["tools:1", "tools:2"]);
    expect(await readdir(store.layout.uses)).toEqual([]);
  });

  it("tells what a dry run would free, and removes nothing", async () => {
    const path = await install("debian:12");
    const result = await pruneEnvironments(store, { ...NOTHING, unused: true, dryRun: true });
    expect(result.removed).toHaveLength(2);
    expect(result.freedBytes).toBeGreaterThan(0);
    await readFile(path);
    await store.require("debian:12");
  });
});

describe("what environments share", () => {
  const layer = (digit: string, bytes: number) => ({
    digest: `sha256:${digit.repeat(64)}`,
    size_bytes: bytes,
  });
  const of = (name: string, digest: string, ...layers: ReturnType<typeof layer>[]) => ({
    ...{ name, digest, size_bytes: 1000 },
    origin: { reference: name, manifest_digest: `sha256:${"f".repeat(64)}`, layers },
  });

  it("is the whole image where another has the same, else the layers of both, else nothing", () => {
    const one = of("one", "sha256:1", layer("a", 10), layer("b", 20));
    const two = of("two", "sha256:2", layer("b", 20), layer("c", 40));
    const three = of("three", "sha256:1");
    expect(sharedBytes(one, [one, two])).toBe(20);
    expect(sharedBytes(one, [one, two, three])).toBe(1000);
    expect(sharedBytes(two, [two])).toBe(0);
    expect(sharedBytes({ name: "own", digest: "sha256:3", size_bytes: 5 }, [one, two])).toBe(0);
  });
});
