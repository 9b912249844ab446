import { createReadStream } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Machines } from "../../src/daemon/machines.js";
import { Overlays } from "../../src/daemon/overlay.js";
import { packerVm } from "../../src/daemon/packer-vm.js";
import { connectGuest } from "../../src/guest/index.js";
import { silentLogger, Slots } from "../../src/kit/index.js";
import { locateRuntimeBundle, QemuDriver } from "../../src/vmm/index.js";
import { isRunning, startRegistry, tool, type RealRegistry } from "../registry/real-registry.js";
import { busyboxTar, debianTar, homeWith, singleTar, sixLayers } from "./registry-images.js";
import { json, pyro, testState, type TestState } from "./support.js";
import { differences, listTar, type Listed, type Listing } from "./tree-listing.js";

const asRoot = process.getuid?.() === 0;
const NEVER = new AbortController().signal;

/** What umoci cannot make without root is left out on both sides: it has plain files for the devices of `like`. */
function comparable(listing: Listing, like: Listing): Listing {
  if (asRoot) return listing;
  const kept = [...listing].filter(([name]) => !/^[34]$/.test(like.get(name)?.type ?? ""));
  return new Map(kept.map(([name, file]) => [name, { ...file, owner: "", xattrs: [] }]));
}

function requireFile(listing: Listing, name: string): Listed {
  const file = listing.get(name);
  if (file === undefined) throw new Error(`${name} is not in the tar`);
  return file;
}

describe("an image of a registry", () => {
  let directory: string;
  let registry: RealRegistry;
  let home: AsyncDisposable;
  let state: TestState;

  beforeAll(async () => {
    if (!asRoot)
      console.log(
        "not root: owners, devices and extended attributes are not compared, umoci cannot make them",
      );
    directory = await mkdtemp(join(tmpdir(), "pyro-registry-images-"));
    await chmod(directory, 0o711);
    state = await testState({ environments: false });
    registry = await startRegistry();
    home = await homeWith([registry.name]);
  });
  afterAll(async () => {
    await state[Symbol.asyncDispose]();
    await home[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    expect(await isRunning(registry.pid)).toBe(false);
    await rm(directory, { recursive: true, force: true });
  });

  const call = (...args: string[]) => pyro(args, { stateDir: state.path });

  /** Adds the image, pulls it by the command, and gives its reference. */
  async function pulled(name: string, tars: readonly string[], config: readonly string[]): Promise<string> {
    await registry.addLayers(`team/${name}`, "1", tars, config);
    const reference = `${registry.name}/team/${name}:1`;
    const result = await call("env", "pull", reference, "--json");
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(json(result)).toMatchObject({ reused: false });
    return reference;
  }

  /** The files of an environment, as a machine of the packer finds them. */
  async function ofPyro(reference: string): Promise<Listing> {
    const cache = join(state.path, "cache");
    const manifests = await readdir(join(cache, "environments"));
    const all = await Promise.all(
      manifests.map(async (name) => await readFile(join(cache, "environments", name), "utf8")),
    );
    const { digest } = all
      .map((text) => JSON.parse(text) as { name: string; digest: string })
      .find(({ name }) => name === reference) ?? { digest: "" };
    const vms = await mkdtemp(join(directory, "vms-"));
    await chmod(vms, 0o711);
    await using machines = new Machines({
      directory: vms,
      driver: new QemuDriver({ bundle: () => locateRuntimeBundle() }),
      slots: new Slots(1),
      connect: (socket, options) => connectGuest(socket, { hostVersion: "test", ...options }),
      log: silentLogger,
    });
    const isolation = (): Promise<"software"> => Promise.resolve("software");
    const packer = packerVm({ machines, isolation, log: silentLogger }, new Overlays());
    const image = join(cache, "images", `${digest.replace(":", "-")}.qcow2`);
    let listing: Listing = new Map();
    await packer.pack({ image, leaveOutEmpty: [], signal: NEVER }, async ({ tar }) => {
      listing = await listTar(tar);
    });
    expect(await readdir(vms)).toEqual([]);
    return listing;
  }

  /** The files that umoci unpacks of what the registry has, as GNU tar finds them; and where they are. */
  async function ofUmoci(reference: string): Promise<{ listing: Listing; rootfs: string }> {
    const layout = await mkdtemp(join(directory, "layout-"));
    const bundle = `${layout}-bundle`;
    const copy = ["--insecure-policy", "copy", "--src-tls-verify=false"];
    await tool("skopeo", ...copy, `docker://${reference}`, `oci:${layout}:pulled`);
    await tool("umoci", "unpack", ...(asRoot ? [] : ["--rootless"]), "--image", `${layout}:pulled`, bundle);
    const rootfs = join(bundle, "rootfs");
    return { listing: await listingOf(rootfs), rootfs };
  }

  async function listingOf(tree: string): Promise<Listing> {
    const path = join(directory, "seen.tar");
    const all = ["--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner"];
    await tool("tar", ...all, "-C", tree, "-cf", path, ".");
    const listing = new Map(await listTar(createReadStream(path)));
    // GNU tar sees no hard links of FIFOs and devices.
    const linked = await tool("find", tree, "-links", "+1", "!", "-type", "d", "-printf", "%i %P\\n");
    const names = new Map<string, string[]>();
    for (const line of linked.split("\n").filter((each) => each !== "")) {
      const [inode = "", name = ""] = line.split(/ (.*)/s);
      names.set(inode, [...(names.get(inode) ?? []), name].sort());
    }
    for (const links of names.values()) {
      for (const name of links) listing.set(name, { ...requireFile(listing, name), links });
    }
    return listing;
  }

  /** No difference, file by file; gives what umoci made. */
  async function expectSame(reference: string): Promise<{ listing: Listing; rootfs: string }> {
    const [ours, theirs] = [await ofPyro(reference), await ofUmoci(reference)];
    console.log(`${reference}: ${ours.size} files`);
    expect(differences(comparable(ours, ours), comparable(theirs.listing, ours))).toEqual([]);
    return theirs;
  }

  it("of Debian, made by mmdebstrap, is what umoci unpacks, runs and holds a workspace", async () => {
    const reference = await pulled("debian", [await debianTar(directory)], []);
    expect((await expectSame(reference)).listing.size).toBeGreaterThan(2_000);
    const ran = await call(
      "run",
      reference,
      "--",
      "sh",
      "-c",
      "cat /etc/debian_version; dpkg -l bash | tail -1",
    );
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    expect(ran.stdout.toString()).toMatch(/^12\.[\s\S]*^ii +bash /m);
    const made = await call("workspace", "create", reference, "--id-only");
    expect(made, made.stderr).toMatchObject({ code: 0 });
    const id = made.stdout.toString().trim();
    const worked = await call("workspace", "exec", id, "--", "bash", "-c", "echo made >f; cat f; id -u");
    expect(worked.stdout.toString()).toBe("made\n0\n");
    expect((await call("workspace", "delete", id)).code).toBe(0);
  }, 400_000);

  it("of busybox is what umoci unpacks, and runs", async () => {
    const reference = await pulled("busybox", [await busyboxTar(directory)], ["--config.cmd", "id"]);
    const { listing } = await expectSame(reference);
    expect(listing.get("bin/sh")?.links).toHaveLength(7);
    const ran = await call("run", reference, "--", "sh", "-c", "ls -d /bin; cat </dev/null; echo $((6 * 7))");
    expect(ran.stdout.toString()).toBe("/bin\n42\n");
    expect((await call("run", reference)).stdout.toString()).toMatch(/^uid=0/);
  });

  it("with one static program and nothing else is what umoci unpacks, and runs", async () => {
    const config = ["--config.entrypoint", "/busybox", "--config.cmd", "echo", "--config.cmd", "by default"];
    const reference = await pulled("single", [await singleTar(directory)], config);
    const { listing } = await expectSame(reference);
    expect([...listing.keys()].sort()).toEqual([".", "busybox"]);
    expect((await call("run", reference)).stdout.toString()).toBe("by default\n");
    const named = await call("run", reference, "--", "/busybox", "echo", "by", "name");
    expect(named.stdout.toString()).toBe("by name\n");
    const shell = await call("run", reference, "--", "sh", "-c", "true");
    expect([shell.code, shell.stderr]).toEqual([127, expect.stringContaining("sh")]);
  });

  it("of six layers that undo and replace what is below them is what umoci unpacks, and runs", async () => {
    const layers = sixLayers(await readFile("/bin/busybox"));
    await mkdir(join(directory, "six"));
    const tars = layers.map((_, index) => join(directory, `six/${index + 1}.tar`));
    for (const [index, tar] of tars.entries()) await writeFile(tar, layers[index] ?? "");
    const reference = await pulled("six", tars, []);
    const { listing, rootfs } = await expectSame(reference);

    // The image has in it what it was made for.
    const has = (name: string): unknown => listing.get(name);
    for (const gone of ["etc/old", "var/cache/a", "var/lib/gone", "opt/two", "dev/disk", "etc/.wh.old"]) {
      expect(has(gone), gone).toBeUndefined();
    }
    expect(has("srv/current")).toMatchObject({ type: "5" });
    expect(has("srv/tree")).toMatchObject({ type: "2", target: "../opt" });
    expect(has("opt/inside")).toBeUndefined();
    expect(has("opt/one")).toMatchObject({ links: ["opt/four", "opt/one"] });
    expect(has("var/cache/before")).toMatchObject({ type: "0" });
    expect(has("bin/su")).toMatchObject({ mode: 0o4755 });
    if (asRoot) {
      expect(has("etc/note")).toMatchObject({ owner: "1000:1001", xattrs: ["user.note=610062"] });
      expect(has("bin/ping")).toMatchObject({
        xattrs: [/^security\.capability=01/].map((each) => expect.stringMatching(each) as unknown),
      });
      expect(has("dev/null")).toMatchObject({ type: "3", device: "1:3" });
    }

    // The comparison sees one bit of one file.
    await chmod(join(rootfs, "etc/kept"), 0o645);
    expect(differences(listing, await listingOf(rootfs))).toEqual([expect.stringMatching(/^etc\/kept: /)]);

    const ran = await call(
      "run",
      reference,
      "--",
      "/bin/sh",
      "-c",
      "/bin/busybox cat /srv/tree/one /var/lib/back",
    );
    expect(ran.stdout.toString()).toBe("linked\nagain\n");
  });
});
