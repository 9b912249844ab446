import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BuildLayer } from "../../src/image/index.js";
import { PyroError } from "../../src/protocol/index.js";
import { entry } from "./tar-entries.js";
import { testBuilder, testMachines } from "./test-builder.js";

const run = promisify(execFile);
const OCI = "application/vnd.oci.image.layer.v1.tar";
const sha256 = (data: Buffer): string => `sha256:${createHash("sha256").update(data).digest("hex")}`;

/** One frame of blocks as they are (RFC 8878, 3.1.1): what a reader of zstd takes, without a writer of it. */
function zstdFrame(data: Buffer): Buffer {
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0]);
  head.writeUInt32LE(data.length, 5);
  const parts: Buffer[] = [head];
  for (let at = 0; at < data.length; at += 65_536) {
    const block = data.subarray(at, at + 65_536);
    const last = at + block.length === data.length ? 1 : 0;
    const header = Buffer.alloc(3);
    header.writeUIntLE(last | (block.length << 3), 0, 3);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}

describe("layers of images, unpacked in a real builder VM", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-image-layers-"));
    await chmod(directory, 0o711);
    await mkdir(join(directory, "vms"), { mode: 0o711 });
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** A tar of files by name. */
  async function tarOf(name: string, files: Record<string, string>): Promise<Buffer> {
    const tree = join(directory, name);
    for (const [path, content] of Object.entries(files)) {
      await mkdir(join(tree, path, ".."), { recursive: true });
      await writeFile(join(tree, path), content);
    }
    const { stdout } = await run("tar", ["-C", tree, "--owner=7", "--group=8", "-cf", "-", "."], {
      encoding: "buffer",
      maxBuffer: 1 << 26,
    });
    return stdout;
  }

  async function layer(file: string, stored: Buffer, tar: Buffer, suffix: string) {
    const path = join(directory, file);
    await writeFile(path, stored);
    const blob = { mediaType: `${OCI}${suffix}`, digest: sha256(stored), diffId: sha256(tar) };
    return { path, sizeBytes: stored.length, blob };
  }

  async function build(
    target: string,
    layers: readonly BuildLayer[],
    phases: string[] = [],
    ...[unpackMs]: number[]
  ) {
    await using machines = testMachines(join(directory, "vms"));
    const builder = testBuilder(machines, unpackMs);
    await builder.makeDisk(target);
    const result = builder.build({
      files: layers.map(({ path }) => path),
      layers: () => Promise.resolve(layers),
      target,
      steps: [],
      onProgress: ({ phase, bytesDone, bytesTotal }) => phases.push(`${phase} ${bytesDone}/${bytesTotal}`),
    });
    // No machine is left, however it ends.
    await result.catch(() => undefined);
    expect(await readdir(join(directory, "vms"))).toEqual([]);
    return await result;
  }

  /** What debugfs prints of the built file system. */
  async function debugfs(image: string, command: string): Promise<string> {
    const raw = `${image}.raw`;
    await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", image, raw]);
    return (await run("debugfs", ["-R", command, raw])).stdout;
  }

  it("come to one tree, whatever their compression and the size of their files", async () => {
    const first = await tarOf("first", {
      "etc/old": "old",
      "etc/kept": "kept\n",
      "big/f": "x".repeat(300_000),
    });
    const second = await tarOf("second", { "etc/.wh.old": "", "big/.wh..wh..opq": "", "big/g": "g\n" });
    const third = await tarOf("third", { "etc/new": "new\n" });
    const layers = [
      await layer("first.gz", gzipSync(first), first, "+gzip"),
      await layer("second.zst", zstdFrame(second), second, "+zstd"),
      await layer("third.tar", third, third, ""),
    ];
    // No whole number of sectors: what the disk reads behind a blob's end is not the blob's.
    expect(layers.every(({ sizeBytes }) => sizeBytes % 512 === 0)).toBe(false);
    const target = join(directory, "image.qcow2");
    const phases: string[] = [];
    const result = await build(target, layers, phases);
    const total = layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    expect(phases.at(-1)).toBe(`unpack ${total}/${total}`);
    expect(result.entryCount).toBeGreaterThan(10);
    const names = async (path: string): Promise<string[]> =>
      [...(await debugfs(target, `ls -p ${path}`)).matchAll(/^\/\d+\/\d+\/(\d+)\/(\d+)\/([^/]+)\//gm)]
        .map(([, uid, gid, name]) => `${name} ${uid}:${gid}`)
        .filter((line) => !line.startsWith("."))
        .sort();
    expect(await names("/")).toEqual(["big 7:8", "etc 7:8"]);
    expect(await names("/etc")).toEqual(["kept 7:8", "new 7:8"]);
    expect(await names("/big")).toEqual(["g 7:8"]);
    expect(await debugfs(target, "cat /etc/kept")).toBe("kept\n");
  });

  it("are not declared good where one is not what the manifest says", async () => {
    const tar = await tarOf("only", { f: "f" });
    const good = await layer("only.gz", gzipSync(tar), tar, "+gzip");
    const bad = { ...good, blob: { ...good.blob, diffId: good.blob.digest } };
    const error = await build(join(directory, "bad.qcow2"), [good, bad]).then(
      () => undefined,
      (reason: unknown) => PyroError.from(reason),
    );
    expect(error?.code).toBe("IMAGE_DIFF_ID_MISMATCH");
    expect(error?.message).toContain("layer 2");
    expect(error?.hint).toContain("another");
  });

  const link = (name: string, linkName: string): Buffer => entry(name, "2", { linkName, mode: 0o777 });
  const file = (name: string): Buffer => entry(name, "0", { mode: 0o644, content: Buffer.from("kept\n") });
  const plain = async (name: string, entries: readonly Buffer[]) => {
    const tar = Buffer.concat([...entries, Buffer.alloc(1024)]);
    return await layer(`${name}.tar`, tar, tar, "");
  };

  /** A name's entries at the top of the built file system. */
  const top = async (target: string): Promise<string[]> =>
    [...(await debugfs(target, "ls -p /")).matchAll(/^\/\d+\/\d+\/\d+\/\d+\/([^/]+)\//gm)]
      .map(([, name = ""]) => name)
      .filter((name) => !/^\.{1,2}$/.test(name))
      .sort();

  it.each([
    ["of the directory above", "d/.wh..."],
    ["below a path with ..", "d/../../../dev/.wh.vdd"],
    ["with a way through a whiteout", ".wh.dev/vdd"],
  ])("are refused for a whiteout %s", async (_, name) => {
    const layers = [await plain("lower", [file("d/f")]), await plain("upper", [file(name)])];
    const error = await build(join(directory, "refused.qcow2"), layers).then(
      () => undefined,
      (reason: unknown) => PyroError.from(reason),
    );
    expect(error?.code).toBe("IMAGE_LAYER_INVALID");
    expect(error?.message).toMatch(/^layer 2: it cannot be unpacked: /);
    expect(error?.hint).toContain("another");
  });

  /**
   * What these want to delete is the builder's own /dev/vdd, which the third layer is read from in its turn: a path that left
   * the image would have taken it away. The image's own directories and files of such names may go.
   */
  it.each([
    [
      "one by one",
      [
        ...[link("absolute", "/dev"), link("climbs", "../../../../dev"), link("in/turn", "../next")],
        ...[link("next", "..//dev"), link("root", "/proc/1/root/dev"), link("leads", "/dev/vdd")],
        ...[link("opaque", "/dev"), file("dev/vdd"), file("dev/kept")],
      ],
      [
        ...[file("/dev/.wh.vdd"), file("absolute/.wh.vdd"), file("climbs/.wh.vdd"), file("in/turn/.wh.vdd")],
        ...[file("root/.wh.vdd"), file(".wh.leads"), file("opaque/.wh.none")],
      ],
      ["absolute", "climbs", "dev", "in", "next", "opaque", "root", "third"],
    ],
    ["of all in a linked directory", [link("l", "/dev")], [file("l/.wh..wh..opq")], ["l", "third"]],
    ["of the whole image", [file("f"), link("l", "/dev")], [file(".wh..wh..opq")], ["third"]],
  ])("have no whiteouts that reach out of the image, %s", async (_, lower, upper, left) => {
    const target = join(directory, "hostile.qcow2");
    const third = await plain("third", [file("third")]);
    await build(target, [await plain("lower", lower), await plain("upper", upper), third]);
    expect(await debugfs(target, "cat /third")).toBe("kept\n");
    expect(await top(target)).toEqual(left);
    if (left.includes("dev")) expect(await debugfs(target, "ls -p /dev")).toMatch(/\/kept\//);
    expect(await debugfs(target, "ls -p /dev")).not.toMatch(/\/vdd\//);
  });

  it("are unpacked for so long and no longer, whatever they are full of", async () => {
    // As slow as it gets for its bytes: entries without content, each below directories of its own.
    const many = Array.from({ length: 40_000 }, (_, n) => entry(`d/${n % 97}/${n}`, "0", { mode: 0o644 }));
    const error = await build(join(directory, "slow.qcow2"), [await plain("slow", many)], [], 300).then(
      () => undefined,
      (reason: unknown) => PyroError.from(reason),
    );
    expect(error).toMatchObject({ code: "IMAGE_LIMIT_EXCEEDED", retryable: true });
    expect(error?.message).toBe('the layers exceed the limit "time": unpacking took longer than 0.3 s');
    expect(error?.hint).toContain("try again");
  });
});
