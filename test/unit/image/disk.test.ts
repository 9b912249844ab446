import { mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { complete } from "../../../src/kit/index.js";
import { convertImage, copyEmptyDisk } from "../../../src/image/disk.js";
import { requireStandalone } from "../../../src/image/qcow2-header.js";
import { HostPrograms } from "../../../src/image/host-tools.js";

// With the host's real tools: what they make of the arguments is what counts.
describe("an environment's disk", () => {
  const host = new HostPrograms();
  const { signal } = new AbortController();
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-disk-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("is at first a copy of one that nobody may write to", async () => {
    const [from, disk] = [join(directory, "empty.qcow2"), join(directory, "disk.qcow2")];
    await writeFile(from, "an empty file system", { mode: 0o444 });
    await writeFile(disk, "what an earlier pull left");
    await copyEmptyDisk(from, disk);
    expect(await readFile(disk, "utf8")).toBe("an empty file system");
    expect((await stat(disk)).mode & 0o777).toBe(0o600);
  });

  it.each([
    ["lies on another file", ["-b", "/etc/passwd", "-F", "raw"], "16G"],
    ["has its data in another file", ["-o", "data_file=/tmp/none.raw,data_file_raw=on"], "16G"],
    ["is one of an older format", ["-o", "compat=0.10"], "16G"],
    ["is packed otherwise", ["-o", "compression_type=zstd"], "16G"],
    ["has another size", [], "17G"],
  ])("is no image where it %s", async (_, options, size) => {
    const path = join(directory, "odd.qcow2");
    const own = options.map((option) => option.replace("/tmp/none.raw", join(directory, "data.raw")));
    const made = await complete("qemu-img", ["create", "-q", "-f", "qcow2", ...own, path, size]);
    expect(made).toMatchObject({ code: 0 });
    await expect(requireStandalone(path)).rejects.toMatchObject({ code: "ENVIRONMENT_BUILD_FAILED" });
  });

  it("is no image where it was not closed, is encrypted, has states of machines, or is no qcow2", async () => {
    const path = join(directory, "image.qcow2");
    await complete("qemu-img", ["create", "-q", "-f", "qcow2", path, "16G"]);
    const bytes = await readFile(path);
    const spoilt = async (change: (header: Buffer) => unknown): Promise<unknown> => {
      const copy = Buffer.from(bytes);
      change(copy);
      await writeFile(path, copy);
      return await requireStandalone(path).catch((error: unknown) => (error as { code: unknown }).code);
    };
    expect(await spoilt(() => undefined)).toBeUndefined();
    expect(await spoilt((header) => header.writeUInt8(1, 79))).toBe("ENVIRONMENT_BUILD_FAILED");
    expect(await spoilt((header) => header.writeUInt32BE(2, 32))).toBe("ENVIRONMENT_BUILD_FAILED");
    expect(await spoilt((header) => header.writeUInt32BE(1, 60))).toBe("ENVIRONMENT_BUILD_FAILED");
    expect(await spoilt((header) => header.fill(0, 0, 104))).toBe("ENVIRONMENT_BUILD_FAILED");
    await writeFile(path, "QFI");
    await expect(requireStandalone(path)).rejects.toMatchObject({ code: "ENVIRONMENT_BUILD_FAILED" });
  });

  it("is sealed as a qcow2 of the same virtual size, of the raw bytes as they are, whatever they pretend to be", async () => {
    const raw = join(directory, "image.raw");
    const sealed = join(directory, "image.qcow2");
    const secret = join(directory, "secret");
    await writeFile(secret, "secret of the host");
    // A guest may write a qcow2 header that names a file of the host.
    await complete("qemu-img", ["create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", raw, "1M"]);
    await truncate(raw, 1024 * 1024);
    const shares: number[] = [];
    await convertImage(host, { path: raw, format: "raw" }, sealed, signal, (share) => shares.push(share));
    expect(shares.at(-1)).toBe(1);
    const { stdout } = await complete("qemu-img", ["info", "-f", "qcow2", "--output=json", sealed]);
    expect(JSON.parse(stdout)).toMatchObject({ format: "qcow2", "virtual-size": (await stat(raw)).size });
    expect(stdout).not.toContain("backing");
    const out = join(directory, "out.raw");
    await complete("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", sealed, out]);
    expect((await readFile(out)).equals(await readFile(raw))).toBe(true);
  });

  it("is not made where the tool fails", async () => {
    const path = join(directory, "there");
    const sealed = convertImage(host, { path, format: "raw" }, join(directory, "x"), signal, () => undefined);
    await expect(sealed).rejects.toMatchObject({ code: "ENVIRONMENT_BUILD_FAILED" });
  });
});
