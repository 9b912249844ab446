import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { EnvironmentStore, layoutOf, loadCatalogue } from "../../src/image/index.js";
import { baseEnvironment, complete, packagePath } from "../../src/kit/index.js";
import { BlobStore, digestOf, ImagePulls } from "../../src/oci/index.js";
import { FAILPOINTS, prefixOf } from "../failpoints.js";
import { environmentPushProgram } from "../fakes/environment-push-program.js";
import { tarOf } from "../fakes/fake-registry.js";
import { sealedEnvironment } from "../fakes/sealed-environment.js";
import { LOGIN, startRegistry, tool, type RealRegistry } from "./real-registry.js";

let directory: string;
let open: RealRegistry;
let closed: RealRegistry;
let cache: string;
const tar = tarOf(11, 6_000_000);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-registry-push-"));
  open = await startRegistry();
  closed = await startRegistry({ login: true });
  await writeFile(join(directory, "push.mjs"), await environmentPushProgram());
  await writeFile(join(directory, "tree.tar"), tar);
});
afterAll(async () => {
  await open[Symbol.asyncDispose]();
  await closed[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});
beforeEach(async () => {
  cache = await mkdtemp(join(directory, "cache-"));
  const store = new EnvironmentStore(await loadCatalogue(packagePath("environments")), layoutOf(cache));
  await sealedEnvironment(store, "mine");
});

/** Pushes in a process of its own; what it says is a result, or an error. */
async function push(reference: string, failpoint?: string) {
  const env = { ...baseEnvironment(), ...(failpoint === undefined ? {} : { PYRO_FAILPOINT: failpoint }) };
  const args = [join(directory, "push.mjs"), packagePath("environments"), cache, join(directory, "tree.tar")];
  const { code, signal, stdout } = await complete(process.execPath, [...args, "mine", reference], { env });
  return { code, signal, said: stdout === "" ? {} : (JSON.parse(stdout) as Record<string, unknown>) };
}

const leavings = async (): Promise<string[]> => await readdir(join(cache, "pushes")).catch(() => []);
/** HTTP status of a tag. */
async function tagOf(registry: RealRegistry, repository: string): Promise<number> {
  const accept = "application/vnd.oci.image.manifest.v1+json";
  return (await fetch(`http://${registry.name}/v2/${repository}/manifests/1`, { headers: { accept } }))
    .status;
}

/** Proves that what is there is the whole tar, as skopeo copies it. */
async function checkImage(registry: RealRegistry, reference: string, ...login: string[]): Promise<void> {
  const layout = await mkdtemp(join(directory, "layout-"));
  await tool(
    "skopeo",
    "--insecure-policy",
    "copy",
    "--src-tls-verify=false",
    ...login,
    `docker://${reference}`,
    `dir:${layout}`,
  );
  const manifest = JSON.parse(await readFile(join(layout, "manifest.json"), "utf8")) as {
    config: { digest: string };
    layers: { digest: string }[];
  };
  const blob = async (digest = "") => await readFile(join(layout, digest.slice("sha256:".length)));
  expect(manifest.layers).toHaveLength(1);
  expect(gunzipSync(await blob(manifest.layers[0]?.digest)).equals(tar)).toBe(true);
  const config = JSON.parse((await blob(manifest.config.digest)).toString()) as { rootfs: unknown };
  expect(config.rootfs).toEqual({ type: "layers", diff_ids: [digestOf(tar)] });
}

describe("a push whose process is killed", () => {
  it.each(FAILPOINTS.filter((name) => prefixOf(name) === "push"))(
    "at %s leaves no half of an image, and the next one makes it whole",
    async (point) => {
      const repository = `killed/${point.replace(".", "-")}`;
      const reference = `${open.name}/${repository}:1`;
      expect(await push(reference, point)).toMatchObject({ signal: "SIGKILL" });
      expect(await tagOf(open, repository)).toBe(point === "push.named" ? 200 : 404);
      expect(await leavings()).toHaveLength(1);
      expect(await push(reference)).toMatchObject({ code: 0, said: { reference } });
      expect(await leavings()).toEqual([]);
      await checkImage(open, reference);
    },
  );
});

describe("a registry with a login", () => {
  const authFile = async (password: string): Promise<void> => {
    const auth = Buffer.from(`${LOGIN.username}:${password}`).toString("base64");
    await mkdir(join(cache, ".docker"), { recursive: true });
    await writeFile(
      join(cache, ".docker/config.json"),
      JSON.stringify({ auths: { [closed.name]: { auth } } }),
    );
  };

  it("takes a push of who is logged in, and what is pulled with that login is the same", async () => {
    const reference = `${closed.name}/team/it:1`;
    await authFile(LOGIN.password);
    const { said } = await push(reference);
    expect(said).toMatchObject({ reference, isSameImage: false });
    await checkImage(closed, reference, "--src-creds", `${LOGIN.username}:${LOGIN.password}`);
    await using store = await BlobStore.open(join(cache, "store"));
    await using pulls = new ImagePulls({
      store,
      registries: { insecure: [closed.name] },
      credentials: () => Promise.resolve({ kind: "password", ...LOGIN }),
    });
    const image = await pulls.pull(reference);
    expect(image.manifestDigest).toBe(said["digest"]);
    expect(image.layers.map(({ diffId }) => diffId)).toEqual([digestOf(tar)]);
  });

  it("is told by its code to who is not, and nothing is packed", async () => {
    for (const password of [undefined, "wrong"]) {
      if (password !== undefined) await authFile(password);
      const { code, said } = await push(`${closed.name}/team/none:1`);
      expect({ code, ...said }).toMatchObject({ code: "REGISTRY_UNAUTHORIZED" });
      expect(JSON.stringify(said)).not.toContain("guess-me");
    }
    expect(await leavings()).toEqual([]);
  });
});

it("A registry that takes no changes is told by its code", async () => {
  await using registry = await startRegistry({ readOnly: true });
  const { said } = await push(`${registry.name}/team/it:1`);
  expect(said).toMatchObject({ code: "REGISTRY_READ_ONLY" });
});
