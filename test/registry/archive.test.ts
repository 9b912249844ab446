import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, it } from "vitest";
import { complete } from "../../src/kit/index.js";
import { BlobStore, digestOf, ImagePulls, type StoredImage } from "../../src/oci/index.js";
import { PyroError } from "../../src/protocol/index.js";
import { startRegistry, tool, type RealRegistry } from "./real-registry.js";

let directory: string;
let registry: RealRegistry;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-registry-archive-"));
  registry = await startRegistry();
  await registry.addImage("team/tool", "1", ["/bin/busybox", "/etc/debian_version"]);
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** Has skopeo copy the image out of the registry. */
async function copied(to: string): Promise<string> {
  const path = join(directory, to.replace(":", "-"));
  const [kind = "", name = ""] = to.split(":");
  const from = `docker://${registry.name}/team/tool:1`;
  const tagged = kind === "docker-archive" ? `${path}:team/tool:1` : `${path}:${name}`;
  await tool("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", from, `${kind}:${tagged}`);
  return path;
}

async function read(path: string): Promise<StoredImage> {
  await using store = await BlobStore.open(await mkdtemp(join(directory, "store-")));
  await using pulls = new ImagePulls({ store });
  const image = await pulls.readArchive(path);
  for (const { path: blob, digest, diffId } of image.layers) {
    const bytes = await readFile(blob);
    expect([digestOf(bytes), digestOf(gunzipSync(bytes))]).toEqual([digest, diffId]);
  }
  return image;
}

it("What skopeo made is read as what a pull gets: an OCI archive, and an OCI layout", async () => {
  await using store = await BlobStore.open(await mkdtemp(join(directory, "store-")));
  await using pulls = new ImagePulls({ store, registries: { insecure: [registry.name] } });
  const pulled = await pulls.pull(`${registry.name}/team/tool:1`);
  expect(pulled.layers).toHaveLength(2);
  for (const to of ["oci-archive:one", "oci:one"]) {
    const image = await read(await copied(to));
    expect(image.manifestDigest).toBe(pulled.manifestDigest);
    expect(image.config).toEqual(pulled.config);
    expect(image.layers.map(({ digest }) => digest)).toEqual(pulled.layers.map(({ digest }) => digest));
  }
});

it("An archive of docker's old format is refused with the command that mends it, which does", async () => {
  const path = await copied("docker-archive:old");
  const error = await read(path).catch((reason: unknown) => PyroError.from(reason));
  if (!(error instanceof PyroError)) throw new Error("it was read");
  expect(error.code).toBe("IMAGE_FORMAT_NOT_SUPPORTED");
  const [, command = ""] = /`(.*)`/.exec(error.hint) ?? [];
  const [program = "", ...args] = command.split(" ");
  expect(await complete(program, ["--insecure-policy", ...args], { cwd: directory })).toMatchObject({
    code: 0,
  });
  expect((await read(join(directory, command.split("oci-archive:")[1] ?? ""))).layers).toHaveLength(2);
});
