import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { complete, launch } from "../../src/kit/index.js";
import { BlobStore, digestOf, ImagePulls } from "../../src/oci/index.js";
import { LIMITS } from "../../src/protocol/index.js";
import { imagePullProgram } from "../fakes/image-pull-program.js";
import { CountingProxy, isRunning, startRegistry, tool, type RealRegistry } from "./real-registry.js";

let registry: RealRegistry;
let directory: string;

beforeAll(async () => {
  registry = await startRegistry();
  const umoci = (await complete("which", ["umoci"])).stdout.trim();
  await registry.addImage("team/tool", "1", ["/bin/busybox", umoci, "/etc/debian_version"]);
  await registry.addImage("team/tool", "large", [(await complete("which", ["skopeo"])).stdout.trim()]);
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  expect(await isRunning(registry.pid)).toBe(false);
  await expect(readdir(registry.directory)).rejects.toMatchObject({ code: "ENOENT" });
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-registry-store-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

it("An image of Debian's tools is pulled as skopeo sees it, and every digest is that of its bytes", async () => {
  await using store = await BlobStore.open(join(directory, "store"));
  await using pulls = new ImagePulls({ store, registries: { insecure: [registry.name] } });
  const image = await pulls.pull(`${registry.name}/team/tool:1`);
  const location = `docker://${registry.name}/team/tool:1`;
  const raw = await tool("skopeo", "inspect", "--tls-verify=false", "--raw", location);
  expect(image.manifestDigest).toBe(digestOf(Buffer.from(raw)));
  const seen = JSON.parse(await tool("skopeo", "inspect", "--tls-verify=false", location)) as {
    Layers: string[];
  };
  expect(image.layers.map(({ digest }) => digest)).toEqual(seen.Layers);
  expect(image.config).toMatchObject({
    platform: { os: "linux", architecture: "amd64" },
    cmd: ["/bin/busybox"],
    env: expect.arrayContaining(["GREETING=hello"]) as unknown,
  });
  for (const { path, digest, diffId, compression, sizeBytes } of image.layers) {
    const bytes = await readFile(path);
    expect([digestOf(bytes), bytes.length, compression]).toEqual([digest, sizeBytes, "gzip"]);
    expect(digestOf(gunzipSync(bytes))).toBe(diffId);
  }
  for (const digest of [image.manifestDigest, image.configDigest]) {
    expect(digestOf(await readFile(store.pathOf(digest)))).toBe(digest);
  }
  expect(await readdir(join(directory, "store/partial"))).toEqual([]);
});

it("What is not there is named", async () => {
  await using store = await BlobStore.open(join(directory, "store"));
  await using pulls = new ImagePulls({ store, registries: { insecure: [registry.name] } });
  for (const missing of ["team/tool:none", "nobody/nothing", `team/tool@${digestOf(Buffer.from("x"))}`]) {
    await expect(pulls.pull(`${registry.name}/${missing}`)).rejects.toMatchObject({
      code: "IMAGE_NOT_FOUND",
    });
  }
});

it("Ten pulls at once download once", async () => {
  await using proxy = await CountingProxy.start(registry.name);
  await using store = await BlobStore.open(join(directory, "store"));
  await using pulls = new ImagePulls({ store, registries: { insecure: [proxy.name] } });
  const images = await Promise.all(Array.from({ length: 10 }, () => pulls.pull(`${proxy.name}/team/tool:1`)));
  expect(new Set(images.map(({ manifestDigest }) => manifestDigest)).size).toBe(1);
  expect(proxy.paths.length).toBe(new Set(proxy.paths).size);
  // The manifest, the configuration, three layers.
  expect(proxy.paths).toHaveLength(5);
});

it("A pull that is killed ten times goes on each time, and fetches at most one chunk twice", async () => {
  const program = join(directory, "pull.mjs");
  await writeFile(program, await imagePullProgram());
  await using proxy = await CountingProxy.start(registry.name);
  const pull = () =>
    launch(process.execPath, [program, join(directory, "store"), proxy.name, "team/tool:large"], {
      stdout: "pipe",
    });
  const manifest = JSON.parse(
    await tool(
      "skopeo",
      "inspect",
      "--tls-verify=false",
      "--raw",
      `docker://${registry.name}/team/tool:large`,
    ),
  ) as { layers: { digest: string; size: number }[] };
  const { digest = "", size = 0 } = manifest.layers[0] ?? {};
  expect(size).toBeGreaterThan(4 * 1024 * 1024);
  const partial = join(directory, "store/partial", digest.slice("sha256:".length));
  proxy.arrived = async ({ path }) =>
    path.endsWith(digest) ? ((await stat(partial).catch(() => undefined))?.size ?? 0) : Infinity;
  const ofLayer = () => proxy.blobs.filter(({ path }) => path.endsWith(digest));

  for (let point = 1; point <= 10; point++) {
    const child = await pull();
    const goal = (size * point) / 11;
    const reached = new Promise<void>((resolve) => {
      proxy.onBytes = ({ path, from, bytes }) => {
        if (path.endsWith(digest) && from + bytes >= goal) resolve();
      };
    });
    await Promise.race([reached, child.exited]);
    child.signal("SIGKILL");
    expect((await child.exited).signal).toBe("SIGKILL");
  }
  await using last = await pull();
  let said = "";
  last.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  expect(await last.exited).toMatchObject({ code: 0 });
  expect(said).toContain('"reused":false');

  const answers = ofLayer();
  expect(answers).toHaveLength(11);
  // Where one ended, against where the next began.
  const twice = answers.slice(1).map(({ from }, index) => {
    const before = answers[index];
    return (before?.from ?? 0) + (before?.bytes ?? 0) - from;
  });
  const total = answers.reduce((sum, { bytes }) => sum + bytes, 0);
  console.log(
    `layer of ${size} bytes, killed at ${answers
      .slice(1)
      .map(({ from }) => from)
      .join(", ")}; fetched twice: ${twice.join(", ")}; in all ${total - size}`,
  );
  expect(Math.max(...twice)).toBeLessThanOrEqual(LIMITS.registryProgressBytes);
  // Each began further on than the one before.
  const begins = answers.map(({ from }) => from);
  expect(begins).toEqual([...begins].sort((one, other) => one - other));
  expect(new Set(begins).size).toBe(11);
  expect(proxy.blobs.length).toBe(12);
  const bytes = await readFile(join(directory, "store/blobs/sha256", digest.slice("sha256:".length)));
  expect(digestOf(bytes)).toBe(digest);
  expect(await readdir(join(directory, "store/partial"))).toEqual([]);
});
