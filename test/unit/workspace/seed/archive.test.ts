import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  encodeTarHeader,
  tarChecksum,
  tarEntry,
  tarPadding,
  type TarEntry,
} from "../../../../src/kit/index.js";
import { LIMITS } from "../../../../src/protocol/index.js";
import { ArchiveCheck } from "../../../../src/workspace/seed/archive-check.js";
import { openSeed } from "../../../../src/workspace/seed/index.js";
import { SeedTally } from "../../../../src/workspace/seed/tally.js";
import { Bench, drain, errorOf, listing, run } from "./support.js";

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.create();
});
afterEach(() => bench[Symbol.asyncDispose]());

const END = Buffer.alloc(1024);

function entry(name: string, type = "0", fields: Partial<TarEntry> = {}, content = ""): Buffer {
  const body = Buffer.from(content);
  const header = encodeTarHeader(tarEntry(name, type, { size: body.length, ...fields }));
  return Buffer.concat([header, body, Buffer.alloc(tarPadding(body.length))]);
}

/** An extended header; each record's length counts itself. */
function extended(records: Record<string, string>, type = "x"): Buffer {
  const text = Object.entries(records)
    .map(([key, value]) => {
      const rest = Buffer.byteLength(` ${key}=${value}\n`, "latin1");
      let length = rest + 1;
      while (String(length).length + rest !== length) length += 1;
      return `${length} ${key}=${value}\n`;
    })
    .join("");
  const body = Buffer.from(text, "latin1");
  return Buffer.concat([
    encodeTarHeader(tarEntry("pax", type, { size: body.length })),
    body,
    Buffer.alloc(tarPadding(body.length)),
  ]);
}

/** An entry whose size field holds these bytes. */
function numbered(...bytes: number[]): Buffer {
  const block = encodeTarHeader(tarEntry("a", "0"));
  block.fill(0, 124, 136);
  Buffer.from(bytes).copy(block, 124);
  block.write(`${tarChecksum(block).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

async function written(...parts: Buffer[]): Promise<{ kind: "path"; path: string }> {
  const path = bench.at(`archive-${Math.random()}`);
  await writeFile(path, Buffer.concat(parts));
  return { kind: "path", path };
}

/** A directory with what tars have trouble with. */
async function makeSource(): Promise<string> {
  const source = bench.at("source");
  await mkdir(join(source, "d".repeat(120), "e".repeat(120)), { recursive: true });
  await writeFile(join(source, "d".repeat(120), "e".repeat(120), "f".repeat(120)), "long");
  await writeFile(join(source, "file"), Buffer.alloc(700_000, "content "));
  await writeFile(join(source, "run"), "x", { mode: 0o755 });
  await symlink("/etc/passwd", join(source, "absolute"));
  await symlink("t".repeat(200), join(source, "long-link"));
  await run("truncate", ["-s", "50M", "sparse"], source);
  await run(
    "sh",
    ["-c", "for i in 1 9 17 25 33 41; do printf x | dd of=sparse bs=1M seek=$i conv=notrunc; done"],
    source,
  );
  await run("ln", ["run", "run-again"], source);
  return source;
}

describe("a seed of an archive", () => {
  it.each([
    ["gnu", "c", "tar"],
    ["posix", "c", "tar"],
    ["ustar", "c", "tar"],
    ["v7", "c", "tar"],
    ["gnu", "cz", "tgz"],
    ["posix", "c --zstd", "tar.zst"],
    ["gnu", "cS", "tar"],
    ["posix", "cS", "tar"],
  ])("goes through as it is: %s, tar %s", async (format, flags, ending) => {
    const source = await makeSource();
    const path = bench.at(`seed.${ending}`);
    const what = format === "v7" ? ["file", "run", "absolute", "run-again"] : ["."];
    const skip = format === "ustar" ? ["--exclude=./d*", "--exclude=./long-link"] : [];
    const [mode = "", ...more] = flags.split(" ");
    await run(
      "tar",
      [`-${mode}f`, path, ...more, `--format=${format}`, ...skip, "-C", source, ...what],
      bench.path,
    );
    const { directory, seed, warnings } = await bench.unpack({ kind: "path", path });
    expect(warnings).toEqual([]);
    expect(seed.origin).toEqual({
      mode: "tar_archive",
      seedPath: path,
      originKind: "path",
      originRef: null,
    });
    await mkdir(bench.at("expected"));
    await run("tar", ["-xpf", path, "-C", bench.at("expected")], bench.path);
    expect(await listing(directory)).toBe(await listing(bench.at("expected")));
    await run("diff", ["-r", "--no-dereference", bench.at("expected"), directory], bench.path);
    const names = (await run("tar", ["tf", path], bench.path)).split("\n").length - 1;
    expect(seed.entryCount).toBe(names);
  });

  it("is told by its content, whatever its name is, and may stand behind a link", async () => {
    const { path } = await written(gzipSync(Buffer.concat([entry("a", "0", {}, "content"), END])));
    await symlink(path, bench.at("seed.zip"));
    const { directory } = await bench.unpack({ kind: "path", path: bench.at("seed.zip") });
    expect(await readFile(join(directory, "a"), "utf8")).toBe("content");
  });

  it("ends where the archive ends, and is the same bytes up to there in pieces of any size", async () => {
    const tar = Buffer.concat([
      extended({ comment: "of all" }, "g"),
      extended({ mtime: "1.5", path: "some/name" }),
      entry("ignored", "0", {}, "x".repeat(2000)),
      entry(`${"n".repeat(150)}/${"m".repeat(150)}`, "2", { linkName: "l".repeat(300) }),
      entry("whiteouts/.wh.untouched"),
      entry("./", "5"),
      entry("pipe", "6"),
      END,
    ]);
    const source = await written(tar, Buffer.from("something else"));
    expect((await drain(source, bench.options())).equals(tar)).toBe(true);
    for (const size of [1, 511, 513, 700]) {
      const check = new ArchiveCheck("archive", new SeedTally());
      const passed: Buffer[] = [];
      for (let at = 0; at < tar.length; at += size) {
        passed.push(...check.push(Buffer.from(tar.subarray(at, at + size))));
      }
      check.end();
      expect(Buffer.concat(passed).equals(tar)).toBe(true);
    }
  });

  const refused: [string, () => Buffer, string][] = [
    ["a name that climbs", () => entry("../x"), '".."'],
    ["a name that climbs in its middle", () => entry("a/../../x"), '".."'],
    ["an absolute name", () => entry("/etc/cron.d/x"), "absolute"],
    ["an empty name", () => entry(""), "empty"],
    [
      "a name that climbs, in an extended header",
      () => Buffer.concat([extended({ path: "../x" }), entry("a")]),
      '".."',
    ],
    ["a long name that climbs", () => entry(`${"a/".repeat(80)}../../x`), '".."'],
    ["a name with a NUL", () => Buffer.concat([extended({ path: "a\0b" }), entry("a")]), "NUL"],
    ["a name of 5000 bytes", () => entry("a/".repeat(2500)), "longer than 4095"],
    ["a part of 256 bytes", () => entry("a".repeat(256)), "longer than 255"],
    ["more than 1024 parts", () => entry("a/".repeat(1025)), "more than 1024 parts"],
    ["a file in the place of the top", () => entry("./"), "the directory itself"],
    ["a hard link to outside", () => entry("a", "1", { linkName: "../../etc/passwd" }), "hard link"],
    ["a hard link to an absolute path", () => entry("a", "1", { linkName: "/etc/passwd" }), "hard link"],
    [
      "a hard link to outside, in an extended header",
      () => Buffer.concat([extended({ linkpath: "/etc/passwd" }), entry("a", "1", { linkName: "b" })]),
      "hard link",
    ],
    ["a device", () => entry("a", "3", { deviceMajor: 1, deviceMinor: 3 }), "device"],
    ["a link to nothing", () => entry("a", "2"), "link target"],
    ["an unknown type", () => entry("a", "Q"), "unknown"],
    [
      "a sparse file with a second name",
      () => Buffer.concat([extended({ "GNU.sparse.name": "../x", path: "a" }), entry("a")]),
      '".."',
    ],
    [
      "a name for all entries",
      () => Buffer.concat([extended({ path: "a" }, "g"), entry("a")]),
      "global header",
    ],
    [
      "a damaged extended header",
      () => Buffer.concat([entry("a", "x", {}, "99 a=b\n"), entry("a")]),
      "damaged",
    ],
    ["a size that is none", () => Buffer.concat([extended({ size: "-1" }), entry("a")]), "size"],
    [
      "an announced entry that does not come",
      () => Buffer.concat([extended({ path: "a" }), END]),
      "announced",
    ],
    ["a name of which only a part fits", () => entry("a".repeat(99) + "/../x"), '".."'],
    ["a negative size", () => numbered(0xff), "negative"],
    ["a size beyond all numbers", () => numbered(0x80, 0xff), "too large"],
    ["zeros in its middle", () => Buffer.concat([entry("a"), Buffer.alloc(512), entry("b")]), "zeros"],
  ];
  it.each(refused)("is refused for %s, and nothing of that entry goes on", async (_, bad, reason) => {
    const good = entry("good", "0", {}, "fine");
    await using seed = await openSeed(await written(good, bad(), entry("after"), END), bench.options());
    const chunks: Uint8Array[] = [];
    const error = await errorOf(
      (async () => {
        for await (const chunk of seed.stream()) chunks.push(chunk);
      })(),
    );
    expect(error.code).toBe("SEED_ARCHIVE_INVALID");
    expect(error.message).toContain(reason);
    expect(error.hint).not.toBe("");
    expect(Buffer.concat(chunks).length).toBeLessThanOrEqual(good.length + 512);
  });

  it("names the entry with what could confuse a terminal escaped", async () => {
    const error = await errorOf(drain(await written(entry("../\u001b[2J\u202e\n"), END), bench.options()));
    expect(error.message).not.toMatch(/[\u0000-\u001f\u202e]/);
  });

  it("is refused when it is damaged or cut off, plain and compressed", async () => {
    const tar = Buffer.concat([entry("a", "0", {}, "content ".repeat(5000)), entry("b"), END]);
    const noise = Buffer.concat([
      tar.subarray(0, 512),
      Buffer.from(Array.from({ length: 90_000 }, (_, at) => (at * at * 31) % 251)),
    ]);
    await writeFile(bench.at("noise"), noise);
    const zstd = Buffer.from(await run("sh", ["-c", "zstd -qc noise | base64 -w0"], bench.path), "base64");
    await writeFile(bench.at("whole"), tar);
    // It asks whoever unpacks it for 2 GiB of memory.
    const greedy = Buffer.from(
      await run("sh", ["-c", "cat whole | zstd -qc --ultra --long=31 | base64 -w0"], bench.path),
      "base64",
    );
    const gzip = gzipSync(tar);
    const flipped = Buffer.from(gzip);
    flipped[gzip.length - 6] = (flipped[gzip.length - 6] ?? 0) ^ 0xff;
    const damaged = Buffer.from(tar);
    damaged[damaged.length - 1024 - 512] = 0xff;
    for (const [what, bytes] of Object.entries({
      cutInContent: tar.subarray(0, 9000),
      cutInHeader: tar.subarray(0, 700),
      cutInTheMiddleOf4GiB: Buffer.concat([numbered(0x80, 0, 0, 0, 0, 0, 0, 1), END]),
      cutBeforeEnd: tar.subarray(0, tar.length - 1024),
      damaged,
      gzipCut: gzip.subarray(0, gzip.length - 20),
      gzipFlipped: flipped,
      gzipOfOther: gzipSync(Buffer.alloc(5000, "no tar")),
      zstdOf2GiB: greedy,
      zstdCut: zstd.subarray(0, zstd.length / 2),
      empty: Buffer.alloc(0),
      text: Buffer.from("hello"),
      xz: Buffer.from("fd377a585a0000", "hex"),
      bzip2: Buffer.from("BZh91AY"),
      zip: Buffer.from("PK\u0003\u0004rest"),
    })) {
      const error = await errorOf(drain(await written(bytes), bench.options()));
      expect(`${what}: ${error.code}`).toBe(`${what}: SEED_ARCHIVE_INVALID`);
    }
  });

  it("is held to bounds of entries, bytes, expansion and headers, each with a name", async () => {
    const bounds: [Partial<Record<keyof typeof LIMITS, number>>, Buffer][] = [
      [{ seedEntries: 2 }, Buffer.concat([entry("a"), entry("b"), entry("c"), END])],
      [{ seedBytes: 10 }, Buffer.concat([entry("a", "0", {}, "eleven byte"), END])],
      [{}, Buffer.concat([extended({ "GNU.sparse.size": "999999999999999" }), entry("a"), END])],
      [{ seedHeaderBytes: 1000 }, Buffer.concat([extended({ comment: "c".repeat(2000) }), entry("a"), END])],
      [
        { seedExpandedFreeBytes: 100_000 },
        gzipSync(Buffer.concat([entry("a", "0", {}, "0".repeat(9_000_000)), END])),
      ],
    ];
    for (const [limits, bytes] of bounds) {
      const source = await written(bytes);
      const before = { ...LIMITS };
      Object.assign(LIMITS, limits);
      try {
        const error = await errorOf(drain(source, bench.options()));
        expect(`${JSON.stringify(limits)} ${error.code}`).toBe(`${JSON.stringify(limits)} SEED_TOO_LARGE`);
        expect(error.details["limit"]).toBeGreaterThan(0);
      } finally {
        Object.assign(LIMITS, before);
      }
    }
  });

  it("says which package brings zstd where the host has none", async () => {
    await mkdir(bench.at("bin"));
    for (const program of ["setpriv", "sh"]) {
      await symlink((await run("which", [program], bench.path)).trim(), bench.at("bin", program));
    }
    const source = await written(Buffer.from("28b52ffd0000", "hex"));
    // The minimal environment adds the system's own directories, which lack zstd.
    vi.stubEnv("PATH", bench.at("bin"));
    const error = await errorOf(drain(source, bench.options()));
    vi.unstubAllEnvs();
    expect(error.code).toBe("HOST_TOOL_NOT_FOUND");
    expect(error.hint).toBe("sudo apt-get install -y zstd");
  });

  it("keeps nothing open when its reader leaves, compressed or not", async () => {
    const tar = Buffer.concat([entry("a", "0", {}, "0123456789abcdef".repeat(500_000)), END]);
    await writeFile(bench.at("tar"), tar);
    await run("zstd", ["-q", "--fast", "tar"], bench.path);
    for (const bytes of [tar, gzipSync(tar), await readFile(bench.at("tar.zst"))]) {
      await using seed = await openSeed(await written(bytes), bench.options());
      for await (const _ of seed.stream()) break;
    }
    expect((await stat(bench.at("tar"))).size).toBe(tar.length);
    expect(await readdir(bench.at("scratch"))).toEqual([]);
  });
});
