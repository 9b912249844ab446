import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { IMAGE_VIRTUAL_BYTES } from "../../../src/image/layout.js";
import { requireStandalone } from "../../../src/image/qcow2-header.js";
import { complete } from "../../../src/kit/index.js";

interface Entry {
  readonly path: string;
  readonly mode: number;
  readonly content?: Buffer;
  readonly device?: readonly [number, number];
}

// The build is plain JavaScript, so that it runs before anything is installed.
const load = (name: string): Promise<unknown> =>
  import(new URL(`../../../runtime/build/${name}`, import.meta.url).href);
const { cpioArchive } = (await load("cpio.mjs")) as { cpioArchive: (entries: readonly Entry[]) => Buffer };
const { dependencies } = (await load("modules.mjs")) as { dependencies: (elf: Buffer) => string[] };
const { emptyDisk } = (await load("file-system.mjs")) as { emptyDisk: (scratch: string) => Buffer };
const { extractKernel } = (await load("kernel-image.mjs")) as { extractKernel: (image: Buffer) => Buffer };

describe("The initramfs", () => {
  const entries: Entry[] = [
    { path: "init", mode: 0o100755, content: Buffer.from("#!x\n") },
    { path: "dev", mode: 0o040755 },
    { path: "dev/console", mode: 0o020600, device: [5, 1] },
  ];

  it("has the same bytes whatever the order of what goes in", () => {
    expect(cpioArchive(entries).equals(cpioArchive([...entries].reverse()))).toBe(true);
  });

  it("is newc, sorted, owned by root, at time 0, aligned", () => {
    const archive = cpioArchive(entries);
    expect(archive.length % 4).toBe(0);
    expect([...archive.toString("latin1").matchAll(/070701/g)]).toHaveLength(4);
    const text = archive.toString("latin1");
    expect(text.indexOf("dev\0")).toBeLessThan(text.indexOf("dev/console\0"));
    // inode, mode, uid, gid, links, mtime, size, device, its own device, name's length, check
    expect(text.slice(0, 110)).toBe(
      "070701" +
        ["1", "41ED", "0", "0", "2", "0", "0", "0", "0", "0", "0", "4", "0"]
          .map((field) => field.padStart(8, "0"))
          .join(""),
    );
    expect(text).toContain("00000005" + "00000001" + "0000000C"); // /dev/console is 5:1
    expect(text).toContain("TRAILER!!!");
  });
});

describe("A kernel module", () => {
  it("tells what it depends on, soft dependencies included", () => {
    const info = "license=GPL\0depends=nfnetlink,libcrc32c\0softdep=pre: crc32c post: other\0name=x\0";
    expect(dependencies(elfWith(".modinfo", info))).toEqual(["nfnetlink", "libcrc32c", "crc32c_generic"]);
    expect(dependencies(elfWith(".modinfo", "depends=\0"))).toEqual([]);
    expect(dependencies(elfWith(".text", "depends=a\0"))).toEqual([]);
  });
});

describe("The kernel", () => {
  const elf = Buffer.concat([
    Buffer.from("\x7fELF", "latin1"),
    Buffer.from("abcabcabcabcabcabcabcabcabcabcabcabc!"),
  ]);
  // Literals "\x7fELFabc", then a match of 33 bytes 3 back (it overlaps itself), then the literal "!".
  const block = Buffer.concat([
    Buffer.from([0x7f]),
    elf.subarray(0, 7),
    Buffer.from([3, 0, 33 - 4 - 15]),
    Buffer.from([0x10]),
    Buffer.from("!"),
  ]);

  it("is taken out of an LZ4 bzImage", () => {
    expect(extractKernel(bzImage(lz4Frame(block), elf.length)).toString("latin1")).toBe(
      elf.toString("latin1"),
    );
  });

  it("that is not compressed is taken as it is", () => {
    expect(extractKernel(bzImage(elf, elf.length)).equals(elf)).toBe(true);
  });

  it("that does not come out whole is refused", () => {
    expect(() => extractKernel(bzImage(lz4Frame(block), elf.length + 1))).toThrow("did not inflate");
    expect(() => extractKernel(bzImage(lz4Frame(block).subarray(0, -3), elf.length))).toThrow("cut off");
    expect(() => extractKernel(bzImage(Buffer.from("what?!"), 6))).toThrow("does not know (776861743f21)");
    expect(() => extractKernel(Buffer.alloc(4096))).toThrow("not a bzImage");
  });
});

function lz4Frame(block: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(block.length);
  return Buffer.concat([Buffer.from([0x02, 0x21, 0x4c, 0x18]), size, block]);
}

/** Setup header (one sector and the boot sector), then the payload with its inflated size at the end. */
function bzImage(payload: Buffer, inflated: number): Buffer {
  const setup = Buffer.alloc(1024);
  setup[0x1f1] = 1;
  setup.write("HdrS", 0x202, "latin1");
  setup.writeUInt32LE(16, 0x248);
  setup.writeUInt32LE(payload.length + 4, 0x24c);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(inflated);
  return Buffer.concat([setup, Buffer.alloc(16), payload, size]);
}

/** An ELF64 file with one section and the table of names. */
function elfWith(name: string, content: string): Buffer {
  const names = Buffer.from(`\0${name}\0`, "latin1");
  const body = Buffer.from(content, "latin1");
  const header = Buffer.alloc(64);
  header.writeBigUInt64LE(BigInt(64 + names.length + body.length), 0x28);
  header.writeUInt16LE(64, 0x3a);
  header.writeUInt16LE(2, 0x3c);
  header.writeUInt16LE(0, 0x3e);
  const section = (at: number, offset: number, size: number): Buffer => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32LE(at, 0);
    bytes.writeBigUInt64LE(BigInt(offset), 0x18);
    bytes.writeBigUInt64LE(BigInt(size), 0x20);
    return bytes;
  };
  return Buffer.concat([
    header,
    names,
    body,
    section(0, 64, names.length),
    section(1, 64 + names.length, body.length),
  ]);
}

describe("The disk that environments begin as", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-empty-disk-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("has the same bytes each time", () => {
    expect(emptyDisk(directory).equals(emptyDisk(directory))).toBe(true);
  });

  it("is an ext4 of one size, in a small file, whose inode tables no guest has to write", async () => {
    const disk = join(directory, "image.qcow2");
    await writeFile(disk, emptyDisk(directory));
    await requireStandalone(disk);
    expect((await stat(disk)).size).toBeLessThan(8 * 1024 * 1024);
    const raw = join(directory, "image.raw");
    await complete("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", disk, raw]);
    expect((await stat(raw)).size).toBe(IMAGE_VIRTUAL_BYTES);
    expect(await complete("e2fsck", ["-fn", raw])).toMatchObject({ code: 0 });
    const { stdout } = await complete("dumpe2fs", [raw], { maxBytes: 1024 * 1024 });
    expect(stdout).toContain("metadata_csum");
    expect(stdout).not.toMatch(/orphan_file|metadata_csum_seed/);
    // Each of them named: a newer mke2fs adds none that the guest's kernel may not know.
    expect(/^Filesystem features: +(.*)$/m.exec(stdout)?.[1]).toBe(
      "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file huge_file dir_nlink extra_isize metadata_csum",
    );
    const groups = stdout.match(/^Group \d+:.*$/gm) ?? [];
    expect(groups).toHaveLength(128);
    expect(groups.filter((line) => !line.includes("ITABLE_ZEROED"))).toEqual([]);
  });
});
