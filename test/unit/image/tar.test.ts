import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { complete, encodeTarHeader, tarEntry, tarPadding, type TarEntry } from "../../../src/kit/index.js";
import { LayerFile } from "../../../src/image/layer-file.js";
import { mergeUsr } from "../../../src/image/staged.js";
import { readTar } from "../../../src/image/tar.js";

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size));
}

async function read(bytes: Buffer, size = 700): Promise<{ entry: TarEntry; content: string }[]> {
  const entries: { entry: TarEntry; content: string }[] = [];
  await readTar(pieces(bytes, size), {
    entry: (entry) => Promise.resolve(void entries.push({ entry, content: "" })),
    content: (chunk) => {
      const last = entries.at(-1);
      if (last !== undefined) last.content += chunk.toString();
      return Promise.resolve();
    },
  });
  return entries;
}

describe("a layer's tar", () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-tar-"));
    path = join(directory, "layer.tar");
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("is read by GNU tar: files, long names, links, devices and files of unknown size", async () => {
    const long = `./${"d".repeat(60)}/${"f".repeat(80)}`;
    {
      await using layer = await LayerFile.create(path);
      await layer.directory("./etc");
      await layer.file("./etc/name", "pyro\n", 0o600);
      await layer.file(long, "x".repeat(5000));
      await layer.symlink("./link", "target".repeat(30));
      await layer.device("./null", 1, 3);
      await layer.streamed("./streamed", async () => {
        await layer.write(Buffer.from("part one, "));
        await layer.write(Buffer.from("part two"));
      });
      await layer.finish();
    }
    const { stdout, code, stderrTail } = await complete("tar", ["tvf", path, "--numeric-owner"]);
    expect(stderrTail).toBe("");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^-rw------- 0\/0\s+5 .* \.\/etc\/name$/m);
    expect(stdout).toContain(long);
    expect(stdout).toContain(`./link -> ${"target".repeat(30)}`);
    expect(stdout).toMatch(/^crw-rw-rw- 0\/0\s+1,3 .* \.\/null$/m);
    expect((await complete("tar", ["xOf", path, "./streamed"])).stdout).toBe("part one, part two");
    expect((await readFile(path)).length % 512).toBe(0);
  });

  it("is read back as it was written, whatever the size of the pieces", async () => {
    const name = `./${"n".repeat(150)}`;
    const bytes = Buffer.concat([
      encodeTarHeader(tarEntry(name, "0", { size: 5, mode: 0o4755, uid: 7, mtime: 99 })),
      Buffer.from("hello"),
      Buffer.alloc(tarPadding(5)),
      encodeTarHeader(tarEntry("./hard", "1", { linkName: name })),
      Buffer.alloc(1024),
    ]);
    for (const size of [1, 511, 512, 513, 100_000]) {
      const entries = await read(bytes, size);
      expect(entries.map(({ entry }) => entry.name)).toEqual([name, "./hard"]);
      expect(entries[0]).toMatchObject({ content: "hello", entry: { mode: 0o4755, uid: 7, mtime: 99 } });
      expect(entries[1]?.entry.linkName).toBe(name);
    }
  });

  it.each([
    ["ends within content", (b: Buffer) => b.subarray(0, 600), /ends too early/],
    ["ends without its end mark", (b: Buffer) => b.subarray(0, 1024), /ends too early/],
    ["goes on after its end", (b: Buffer) => Buffer.concat([b, b]), /goes on after/],
    ["has a flipped bit in a header", (b: Buffer) => Buffer.from(b).fill(0x41, 3, 4), /damaged/],
  ])("is refused when it %s", async (_what, change, message) => {
    const whole = Buffer.concat([
      encodeTarHeader(tarEntry("./a", "0", { size: 200 })),
      Buffer.alloc(512, 1),
      Buffer.alloc(1024),
    ]);
    await expect(read(change(whole))).rejects.toThrow(message);
  });

  it("is refused when it holds an entry of an unknown type, a huge name or a number that is none", async () => {
    const end = Buffer.alloc(1024);
    await expect(read(Buffer.concat([encodeTarHeader(tarEntry("./a", "x")), end]))).rejects.toThrow(
      /type "x"/,
    );
    const huge = encodeTarHeader(tarEntry("././@LongLink", "L", { size: 100_000 }));
    await expect(read(Buffer.concat([huge, end]))).rejects.toThrow(/name of 100000 bytes/);
    const odd = encodeTarHeader(tarEntry("./a", "0"));
    odd.write("9", 110, "latin1");
    odd.fill(" ", 148, 156);
    const sum = odd.reduce((total, byte) => total + byte, 0);
    odd.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    await expect(read(Buffer.concat([odd, end]))).rejects.toThrow(/number/);
  });

  it("refuses to write a number that does not fit", () => {
    expect(() => encodeTarHeader(tarEntry("./a", "0", { uid: 2 ** 30 }))).toThrow(RangeError);
  });
});

describe("merging /usr", () => {
  it("moves what lies in /bin, /lib and their like, hard links' targets too, and keeps symbolic links' text", () => {
    const moved = (name: string, type = "0", linkName = ""): [string, string] => {
      const entry = mergeUsr(tarEntry(name, type, { linkName }));
      return [entry.name, entry.linkName];
    };
    expect(moved("./bin/sh")[0]).toBe("./usr/bin/sh");
    expect(moved("./lib/", "5")[0]).toBe("./usr/lib/");
    expect(moved("./lib64/ld.so", "2", "../lib/x")).toEqual(["./usr/lib64/ld.so", "../lib/x"]);
    expect(moved("./usr/bin/a", "1", "./bin/b")).toEqual(["./usr/bin/a", "./usr/bin/b"]);
    expect(moved("./libexec/x")[0]).toBe("./libexec/x");
    expect(moved("./usr/lib/x")[0]).toBe("./usr/lib/x");
    expect(moved("./bin", "2", "usr/bin")[0]).toBe("./bin");
  });
});
