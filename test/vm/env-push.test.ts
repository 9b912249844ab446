import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ImagesInUse } from "../../src/daemon/images-in-use.js";
import type { Machines } from "../../src/daemon/machines.js";
import { Overlays } from "../../src/daemon/overlay.js";
import { packerVm } from "../../src/daemon/packer-vm.js";
import {
  EnvironmentPushes,
  EnvironmentStore,
  HostPrograms,
  layoutOf,
  loadCatalogue,
  sealImage,
  type BuildLayer,
  type InstalledImage,
} from "../../src/image/index.js";
import { packagePath, sha256File, silentLogger } from "../../src/kit/index.js";
import { BlobStore, ImagePulls, ImagePushes } from "../../src/oci/index.js";
import { PyroError } from "../../src/protocol/index.js";
import { startRegistry, tool, type RealRegistry } from "../registry/real-registry.js";
import { CAPABILITY, entry } from "./tar-entries.js";
import { testBuilder, testMachines } from "./test-builder.js";

const NEVER = new AbortController().signal;
const CONFIG = {
  env: ["PATH=/bin", "GREETING=hello there"],
  user: "7:8",
  working_dir: "/home",
  entrypoint: ["/bin/true"],
  cmd: ["one", "two"],
};

/** A tree with something of each kind. */
function someTree(): Buffer {
  const big = Buffer.alloc(3_000_000);
  for (let at = 0; at < big.length; at += 1) big[at] = (at * 2_654_435_761) >>> 13;
  return Buffer.concat([
    entry("./", "5", { mode: 0o751 }),
    ...["bin", "dev", "etc", "home", "workspace", "lost+found", "etc/deep"].map((name) =>
      entry(`${name}/`, "5"),
    ),
    entry("home/mine", "0", { uid: 1000, gid: 1001, mode: 0o640, content: Buffer.from("mine\n") }),
    entry("home/big", "0", { content: big }),
    entry("bin/su", "0", { mode: 0o4755, content: Buffer.from("#!") }),
    entry("bin/ping", "0", { mode: 0o755, xattrs: { "security.capability": CAPABILITY } }),
    entry("etc/first", "0", { content: Buffer.from("linked\n"), xattrs: { "user.note": "a\x00b" } }),
    entry("etc/second", "1", { linkName: "etc/first" }),
    entry("etc/link", "2", { linkName: "../home/mine", mode: 0o777 }),
    entry("etc/deep/sticky/", "5", { mode: 0o1777, uid: 5_000 }),
    entry(`etc/deep/${"long".repeat(40)}`, "0"),
    entry("dev/null", "3", { mode: 0o666, deviceMajor: 1, deviceMinor: 3 }),
    entry("dev/pipe", "6", { mode: 0o600, mtimeNanos: 500 }),
    Buffer.alloc(1024),
  ]);
}

/** What a tree is, as GNU tar sees it: names, types, modes, owners, times, links, extended attributes, content. */
async function seen(directory: string): Promise<{ sha256: string; listing: string; capabilities: number }> {
  const path = `${directory}.seen.tar`;
  const format = ["--format=pax", "--pax-option=exthdr.name=%d/x/%f,delete=atime,delete=ctime"];
  const all = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--sort=name"];
  await tool("tar", ...format, ...all, "-C", directory, "-cf", path, ".");
  const listing = await tool("tar", "--xattrs", "--numeric-owner", "-tvvf", path);
  // GNU tar keeps them, and lists them not.
  const capabilities = (await readFile(path, "latin1")).split("SCHILY.xattr.security.capability=").length - 1;
  return { sha256: await sha256File(path), listing, capabilities };
}

describe("an environment that is pushed", () => {
  let directory: string;
  let registry: RealRegistry;
  let store: EnvironmentStore;
  let machines: Machines;
  let tree: Buffer;
  const host = new HostPrograms();
  const isolation = (): Promise<"software"> => Promise.resolve("software");

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-push-test-"));
    await chmod(directory, 0o711);
    for (const name of ["vms", "images", "environments", "work"])
      await mkdir(join(directory, name), { mode: 0o711 });
    registry = await startRegistry();
    store = new EnvironmentStore(await loadCatalogue(packagePath("environments")), layoutOf(directory));
    machines = testMachines(join(directory, "vms"));
    tree = someTree();
    await writeFile(join(directory, "work/tree.tar"), tree);
    await environment("mine", "image", [{ path: join(directory, "work/tree.tar"), sizeBytes: tree.length }]);
  });
  afterAll(async () => {
    await machines[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  /** Makes an environment of layers, as a pull does. */
  async function environment(
    name: string,
    source: "image" | "workspace",
    layers: readonly BuildLayer[],
    change?: (raw: string) => Promise<unknown>,
  ): Promise<InstalledImage> {
    const target = join(directory, "work/unpacked.qcow2");
    const builder = testBuilder(machines);
    await builder.makeDisk(target);
    const { usedBytes } = await builder.build({
      files: layers.map(({ path }) => path),
      layers: () => Promise.resolve(layers),
      target,
      steps: [],
    });
    if (change !== undefined) {
      const raw = `${target}.raw`;
      await tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", target, raw);
      await change(raw);
      await tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, target);
      await rm(raw);
    }
    await sealImage({
      ...{ store, host, usedBytes, signal: NEVER, onProgress: () => undefined },
      from: { path: target, by: "move" },
      directory: join(directory, "work"),
      manifest: { name, source, recipe: "test", packages: [], config: CONFIG },
    });
    return await store.require(name);
  }

  async function push(name: string, reference: string) {
    const inUse = new ImagesInUse();
    await using images = new ImagePushes({ registries: { insecure: [registry.name] } });
    const packer = packerVm({ machines, isolation, log: silentLogger }, new Overlays());
    const pushes = new EnvironmentPushes(
      { store, packer, images: () => Promise.resolve(images), hold: (digest) => inUse.hold(digest) },
      directory,
    );
    const phases = new Set<string>();
    try {
      const result = await pushes.push(name, reference, {
        signal: NEVER,
        onProgress: ({ phase }) => phases.add(phase),
      });
      return { ...result, phases: [...phases] };
    } finally {
      await pushes.close();
      // Nothing is left, however it ends: no machine, no layer, no hold.
      expect(await readdir(join(directory, "vms"))).toEqual([]);
      expect(await readdir(join(directory, "pushes")).catch(() => [])).toEqual([]);
      expect(inUse.digests.size).toBe(0);
    }
  }

  /** The root file system that umoci makes of an image of the registry. */
  async function byUmoci(reference: string, name: string): Promise<string> {
    const layout = join(directory, `work/${name}-layout`);
    const bundle = join(directory, `work/${name}-bundle`);
    const copy = ["--insecure-policy", "copy", "--src-tls-verify=false"];
    await tool("skopeo", ...copy, `docker://${reference}`, `oci:${layout}:pushed`);
    const rootless = process.getuid?.() === 0 ? [] : ["--rootless"];
    await tool("umoci", "unpack", ...rootless, "--image", `${layout}:pushed`, bundle);
    return join(bundle, "rootfs");
  }

  it("is what umoci unpacks of it, file by file, and skopeo says what it runs", async () => {
    const reference = `${registry.name}/team/mine:1`;
    const pushed = await push("mine", reference);
    expect(pushed).toMatchObject({ environment: "mine", reference, isSameImage: false, leftOut: 0 });
    expect(pushed.phases).toEqual(["pack", "upload"]);
    const location = ["--tls-verify=false", `docker://${reference}`];
    const said = JSON.parse(await tool("skopeo", "inspect", ...location)) as Record<string, unknown>;
    expect(said).toMatchObject({ Digest: pushed.digest, Os: "linux", Architecture: "amd64" });
    const config = JSON.parse(await tool("skopeo", "inspect", "--config", ...location)) as Record<
      string,
      unknown
    >;
    expect(config).toMatchObject({
      config: {
        ...{ Env: CONFIG.env, User: "7:8", WorkingDir: "/home" },
        ...{ Entrypoint: ["/bin/true"], Cmd: ["one", "two"] },
      },
      history: [{ created_by: "pyro env push" }],
    });

    const truth = join(directory, "work/truth");
    await mkdir(truth);
    const whole = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--delay-directory-restore", "-p"];
    await tool("tar", ...whole, "-C", truth, "-xf", join(directory, "work/tree.tar"));
    // It is left out: the file system makes it, empty.
    await rm(join(truth, "lost+found"), { recursive: true });
    await tool("touch", "-d", "@1600000000", truth);
    const expected = await seen(truth);
    const found = await seen(await byUmoci(reference, "mine"));
    expect(found.listing).toBe(expected.listing);
    expect(found.sha256).toBe(expected.sha256);
    for (const there of [/crw-rw-rw- +0\/0 +1,3 /, /prw-/, /-rwsr-xr-x/, /user\.note/, /link to/]) {
      expect(found.listing).toMatch(there);
    }
    expect(found.capabilities).toBe(1);
  });

  it("is pulled and unpacked again as the same files, to the last attribute", async () => {
    const reference = `${registry.name}/team/mine:2`;
    await push("mine", reference);
    await using blobs = await BlobStore.open(join(directory, "blobs"));
    await using pulls = new ImagePulls({ store: blobs, registries: { insecure: [registry.name] } });
    const image = await pulls.pull(reference);
    expect(image.config).toMatchObject({
      env: CONFIG.env,
      user: "7:8",
      workingDir: "/home",
      cmd: CONFIG.cmd,
    });
    const layers = image.layers.map(({ path, sizeBytes, mediaType, digest, diffId }) => {
      return { path, sizeBytes, blob: { mediaType, digest, diffId } };
    });
    // The builder finds both digests right, or makes nothing.
    await environment("pulled", "image", layers);
    const again = await push("pulled", `${registry.name}/team/mine:3`);
    const layersOf = async (name: string): Promise<unknown> =>
      (
        JSON.parse(await tool("skopeo", "inspect", "--tls-verify=false", `docker://${name}`)) as {
          Layers: unknown;
        }
      ).Layers;
    // The same tree gives the same bytes: there was nothing to send but a configuration of another time.
    expect(await layersOf(again.reference)).toEqual(await layersOf(reference));
    expect(again.uploadedBytes).toBeLessThan(5_000);
  });

  it("of a workspace is without the empty /workspace that pyro made", async () => {
    await environment("saved", "workspace", [
      { path: join(directory, "work/tree.tar"), sizeBytes: tree.length },
    ]);
    const reference = `${registry.name}/team/saved:1`;
    await push("saved", reference);
    const names = await readdir(await byUmoci(reference, "saved"));
    expect(names.sort()).toEqual(["bin", "dev", "etc", "home"]);
  });

  it("with a file that no image can hold is refused by its name", async () => {
    const layers = [{ path: join(directory, "work/tree.tar"), sizeBytes: tree.length }];
    await environment("odd", "image", layers, (raw) =>
      tool("debugfs", "-w", "-R", "mkdir /home/.wh.mine", raw),
    );
    const error = await push("odd", `${registry.name}/team/odd:1`).catch((reason: unknown) =>
      PyroError.from(reason),
    );
    expect(error).toMatchObject({
      code: "ENVIRONMENT_NOT_PORTABLE",
      message: expect.stringContaining("home/.wh.mine") as string,
    });
    const tags = await fetch(`http://${registry.name}/v2/team/odd/tags/list`);
    expect(tags.status).toBe(404);
  });

  it("that is not there, or to no place, is refused before a machine starts", async () => {
    const failure = async (name: string, reference: string) =>
      await push(name, reference).catch((reason: unknown) => PyroError.from(reason));
    expect(await failure("mine", `${registry.name}/Team/odd:1`)).toMatchObject({
      code: "IMAGE_REFERENCE_INVALID",
    });
    expect(await failure("nobody", `${registry.name}/team/odd:1`)).toMatchObject({
      code: "ENVIRONMENT_NOT_PULLED",
    });
    expect(await failure("mine", "localhost:1/team/odd:1")).toMatchObject({ code: "REGISTRY_UNREACHABLE" });
  });
});
