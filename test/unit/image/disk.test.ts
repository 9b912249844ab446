import { mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { complete } from "../../../src/kit/index.js";
import { convertImage, makeFileSystem } from "../../../src/image/disk.js";
import { HostPrograms } from "../../../src/image/host-tools.js";
import { IMAGE_VIRTUAL_BYTES } from "../../../src/image/layout.js";

// With the host's real tools: what they make of the arguments is what counts.
describe("an environment's disk", () => {
  const host = new HostPrograms();
  const { signal } = new AbortController();
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-disk-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("is a sparse ext4 of one size whose inode tables no guest has to write", async () => {
    const raw = join(directory, "image.raw");
    await makeFileSystem(host, raw, signal);
    const { size, blocks } = await stat(raw);
    expect(size).toBe(IMAGE_VIRTUAL_BYTES);
    expect(blocks * 512).toBeLessThan(32 * 1024 * 1024);
    const { stdout } = await complete("dumpe2fs", [raw], { maxBytes: 1024 * 1024 });
    expect(stdout).toContain("metadata_csum");
    expect(stdout).not.toMatch(/orphan_file|metadata_csum_seed/);
    const groups = stdout.match(/^Group \d+:.*$/gm) ?? [];
    expect(groups).toHaveLength(128);
    expect(groups.filter((line) => !line.includes("ITABLE_ZEROED"))).toEqual([]);
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
