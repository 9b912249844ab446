import { appendFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import {
  chmod,
  link,
  mkdir,
  readdir,
  readFile,
  realpath,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../../../src/protocol/index.js";
import { openSeed, sweepSeeds } from "../../../../src/workspace/seed/index.js";
import { Bench, drain, errorOf, listing, run } from "./support.js";

describe("a seed of a directory", () => {
  let bench: Bench;
  let source: string;
  beforeEach(async () => {
    bench = await Bench.create();
    source = bench.at("source");
    await mkdir(source);
  });
  afterEach(() => bench[Symbol.asyncDispose]());

  it("keeps names, contents, modes, times to the nanosecond, links and empty directories", async () => {
    const deep = join(source, ...Array.from({ length: 12 }, (_, at) => `directory-number-${at}`));
    await mkdir(deep, { recursive: true });
    await mkdir(join(source, "empty"), { mode: 0o700 });
    await writeFile(join(deep, "x".repeat(200)), "deep");
    await writeFile(join(source, "run.sh"), "#!/bin/sh\n");
    await chmod(join(source, "run.sh"), 0o4755);
    await writeFile(join(source, "secret"), "s");
    await chmod(join(source, "secret"), 0o600);
    await writeFile(
      Buffer.concat([Buffer.from(`${source}/`), Buffer.from("caf\xe9\xff", "latin1")]),
      "latin1",
    );
    await writeFile(join(source, "line\nbreak \u001b[31m"), "odd");
    await writeFile(join(source, "block"), "b".repeat(512));
    await writeFile(join(source, "none"), "");
    await writeFile(join(source, "large"), Buffer.alloc(1_000_001, "0123456789abc"));
    await symlink("../../nowhere", join(source, "dangling"));
    await symlink(".", join(source, "loop"));
    await symlink("l".repeat(300), join(source, "long-target"));
    await run("touch", ["-d", "1969-12-31 23:59:58.250000000 UTC", join(source, "secret")], source);
    await run("touch", ["-d", "2021-02-03 04:05:06.123456789 UTC", join(source, "run.sh")], source);
    await utimes(join(source, "empty"), 1, 1);

    const { directory, seed, entryCount, bytes, warnings, chunks } = await bench.unpack({
      kind: "path",
      path: source,
    });
    expect(await listing(directory)).toBe(await listing(source));
    await run("diff", ["-r", "--no-dereference", source, directory], bench.path);
    expect(seed.origin).toEqual({
      mode: "directory",
      seedPath: source,
      originKind: "path",
      originRef: null,
    });
    expect(warnings).toEqual([]);
    expect(entryCount).toBe((await listing(source)).split("\n").length - 1 - 1);
    expect(bytes).toBe(1_000_001 + 512 + 4 + 10 + 1 + 6 + 3);
    expect(Math.max(...chunks)).toBeLessThanOrEqual(512 * 1024);
  });

  it("follows a link at its own top, and none below it", async () => {
    await writeFile(join(source, "file"), "here");
    await mkdir(bench.at("elsewhere"));
    await writeFile(bench.at("elsewhere", "private"), "key");
    await symlink(bench.at("elsewhere"), join(source, "to-elsewhere"));
    await symlink(source, bench.at("top"));
    const { directory } = await bench.unpack({ kind: "path", path: bench.at("top") });
    expect((await readdir(directory)).sort()).toEqual(["file", "to-elsewhere"]);
    expect(await readFile(join(directory, "file"), "utf8")).toBe("here");
    expect(await realpath(join(directory, "to-elsewhere"))).toBe(await realpath(bench.at("elsewhere")));
  });

  it("makes hard links of what is one file, small or large", async () => {
    await mkdir(join(source, "b"));
    for (const [name, size] of [
      ["small", 10],
      ["large", 700_000],
    ] as const) {
      await writeFile(join(source, `b/${name}`), Buffer.alloc(size, name));
      await link(join(source, `b/${name}`), join(source, `a-${name}`));
      await link(join(source, `b/${name}`), join(source, `b/z-${name}`));
    }
    const { directory, bytes } = await bench.unpack({ kind: "path", path: source });
    expect(bytes).toBe(700_010);
    for (const name of ["small", "large"]) {
      const inodes = await Promise.all(
        [`a-${name}`, `b/${name}`, `b/z-${name}`].map(
          async (path) => (await stat(join(directory, path))).ino,
        ),
      );
      expect(new Set(inodes).size).toBe(1);
      const [one, other] = await Promise.all(
        [directory, source].map((top) => readFile(join(top, `a-${name}`))),
      );
      expect(other && one?.equals(other)).toBe(true);
    }
  });

  it("leaves out FIFOs and sockets, names them, and never waits for them", async () => {
    await run("mkfifo", [join(source, "pipe\nwith a break")], source);
    const server = createServer().listen(join(source, "socket"));
    await new Promise((resolve) => server.once("listening", resolve));
    await writeFile(join(source, "file"), "x");
    const { directory, warnings } = await bench.unpack({ kind: "path", path: source });
    await new Promise((resolve) => server.close(resolve));
    expect(await readdir(directory)).toEqual(["file"]);
    expect(warnings).toEqual([
      'left out "pipe\\nwith a break": it is a FIFO',
      'left out "socket": it is a socket',
    ]);
  });

  it("keeps a bounded number of warnings", async () => {
    const count = LIMITS.seedWarnings + 20;
    const names = Array.from({ length: count }, (_, at) => `p${at}`);
    await run("mkfifo", names, source);
    const { warnings } = await bench.unpack({ kind: "path", path: source });
    expect(warnings.length).toBe(LIMITS.seedWarnings + 1);
    expect(warnings.at(-1)).toBe("and 20 more of this kind");
  });

  it("takes an empty directory, and an empty seed, for a tar without entries", async () => {
    const tar = Buffer.alloc(1024);
    expect(await drain({ kind: "path", path: source }, bench.options())).toEqual(tar);
    expect(await drain({ kind: "empty" }, bench.options())).toEqual(tar);
    await using seed = await openSeed({ kind: "empty" }, bench.options());
    expect(seed.origin).toEqual({ mode: "empty", seedPath: null, originKind: "empty", originRef: null });
  });

  it("goes a thousand directories deep with few of them open", async () => {
    await run(
      "sh",
      ["-c", "i=0; while [ $i -lt 900 ]; do mkdir d; cd -P d; : > f; i=$((i+1)); done"],
      source,
    );
    let most = 0;
    const options = bench.options();
    await using seed = await openSeed({ kind: "path", path: source }, options);
    for await (const _ of seed.stream()) most = Math.max(most, (await readdir("/proc/self/fd")).length);
    expect(seed.entryCount).toBe(1800);
    expect(most).toBeLessThan(250);
  });

  it("says what is not there, and what is neither directory nor archive", async () => {
    await writeFile(join(source, "file"), "x");
    for (const path of [bench.at("missing"), "", "a\0b", join(source, "file", "below")]) {
      const error = await errorOf(openSeed({ kind: "path", path }, bench.options()));
      expect(error.code).toBe("SEED_NOT_FOUND");
      expect(error.hint).toContain("--seed-path");
    }
    await run("mkfifo", [bench.at("pipe")], source);
    for (const path of [bench.at("pipe"), "/dev/null"]) {
      expect((await errorOf(openSeed({ kind: "path", path }, bench.options()))).code).toBe(
        "SEED_ARCHIVE_INVALID",
      );
    }
  });

  it.skipIf(process.getuid?.() === 0)("names a file that it may not read", async () => {
    await writeFile(join(source, "file"), "x", { mode: 0o000 });
    const error = await errorOf(drain({ kind: "path", path: source }, bench.options()));
    expect(error.code).toBe("SEED_UNREADABLE");
    expect(error.message).toContain('"file"');
    expect(error.hint).toContain("chmod");
  });

  it("ends when its signal is aborted, and when its reader leaves, and keeps nothing open", async () => {
    for (let at = 0; at < 50; at += 1) await writeFile(join(source, `f${at}`), Buffer.alloc(300_000));
    const controller = new AbortController();
    {
      await using seed = await openSeed(
        { kind: "path", path: source },
        bench.options({ signal: controller.signal, onProgress: () => controller.abort(new Error("enough")) }),
      );
      await expect(
        (async () => {
          for await (const _ of seed.stream());
        })(),
      ).rejects.toThrow("enough");
    }
    await using seed = await openSeed({ kind: "path", path: source }, bench.options());
    for await (const _ of seed.stream()) break;
    expect(() => seed.stream()).toThrow("once");
    await expect(openSeed({ kind: "empty" }, bench.options({ signal: controller.signal }))).rejects.toThrow();
  });

  it("removes what a process that died left in its scratch", async () => {
    await mkdir(bench.at("scratch/scratch-123/repository"), { recursive: true });
    await sweepSeeds(bench.at("scratch"));
    await sweepSeeds(bench.at("not-there"));
    expect(await readdir(bench.at("scratch"))).toEqual([]);
  });
});

describe("a directory that changes while it is read", () => {
  let bench: Bench;
  let source: string;
  const LARGE = 3_000_000;
  beforeEach(async () => {
    bench = await Bench.create();
    source = bench.at("source");
    await mkdir(source);
    await writeFile(join(source, "large"), Buffer.alloc(LARGE, "a"));
  });
  afterEach(() => bench[Symbol.asyncDispose]());

  /** Reads the seed, and does something to the source once the first bytes of the large file are out. */
  async function disturbed(change: () => void): Promise<{ tar: Buffer; warnings: readonly string[] }> {
    await using seed = await openSeed({ kind: "path", path: source }, bench.options());
    const chunks: Uint8Array[] = [];
    for await (const chunk of seed.stream()) {
      chunks.push(chunk);
      if (chunks.length === 2) change();
    }
    return { tar: Buffer.concat(chunks), warnings: seed.warnings };
  }

  it("cuts a file that grows at its first size and says so", async () => {
    const { tar, warnings } = await disturbed(() => appendFileSync(join(source, "large"), "more"));
    expect(warnings).toEqual([`"large" grew while it was read: cut at ${LARGE} bytes, its size at first`]);
    expect(tar.length).toBe(1536 + 3_000_320 + 1024);
  });

  it("says that a file was written to", async () => {
    const { warnings } = await disturbed(() => writeFileSync(join(source, "large"), "b", { flag: "r+" }));
    expect(warnings).toEqual([
      '"large" was written to while it was read: it may be partly old and partly new',
    ]);
  });

  it("reads on in a file that was removed or replaced: it is whole as it was", async () => {
    const { warnings, tar } = await disturbed(() => {
      rmSync(join(source, "large"));
      symlinkSync("/etc/passwd", join(source, "large"));
    });
    expect(warnings).toEqual([]);
    expect(tar.subarray(1536, 1536 + LARGE).equals(Buffer.alloc(LARGE, "a"))).toBe(true);
  });

  it("ends with an error when a file becomes shorter", async () => {
    const error = await errorOf(disturbed(() => truncateSync(join(source, "large"), 10)));
    expect(error.code).toBe("SEED_CHANGED");
    expect(error.message).toBe('"large" became shorter while the seed was read');
    expect(error.retryable).toBe(true);
    await truncate(join(source, "large"), 0);
  });

  it("ends with an error when a directory vanishes or becomes a link", async () => {
    // More than is read ahead.
    await mkdir(join(source, "y"));
    for (let at = 0; at < 100; at += 1) await writeFile(join(source, "y", `f${at}`), "");
    await mkdir(join(source, "z"));
    await mkdir(bench.at("outside"));
    await writeFile(bench.at("outside", "private"), "key");
    const error = await errorOf(
      disturbed(() => {
        renameSync(join(source, "z"), bench.at("moved"));
        symlinkSync(bench.at("outside"), join(source, "z"));
      }),
    );
    expect(error.code).toBe("SEED_CHANGED");
    expect(error.message).toContain('"z"');
  });

  it("never gives a torn file nor one from outside, in a thousand rounds against someone who swaps", async () => {
    // Contents are of one letter and of a length that goes with it, so that a mixture shows.
    const content = (letter: string): string => letter.repeat(letter === "a" ? 600 : 5000);
    const outside = bench.at("private");
    await writeFile(outside, "KEY".repeat(500));
    const file = join(source, "file");
    const spare = join(source, "spare");
    writeFileSync(file, content("a"));
    rmSync(join(source, "large"));
    const moves = [
      () => writeFileSync(file, content("a")),
      () => writeFileSync(file, content("b")),
      () => {
        rmSync(file, { force: true });
        symlinkSync(outside, file);
      },
      () => {
        rmSync(file, { force: true });
        writeFileSync(file, content("b"));
      },
      () => {
        writeFileSync(spare, content("a"));
        renameSync(spare, file);
      },
      () => rmSync(file, { force: true }),
    ];
    const outcomes = new Map<string, number>();
    const end = Date.now() + 5_000;
    for (let round = 0; round < 1000 && Date.now() < end; round += 1) {
      const stop = new AbortController();
      const mutate = (async () => {
        for (let at = round; !stop.signal.aborted; at += 1) {
          moves[at % moves.length]?.();
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
      try {
        await using seed = await openSeed({ kind: "path", path: source }, bench.options());
        const chunks: Uint8Array[] = [];
        for await (const chunk of seed.stream()) chunks.push(chunk);
        const tar = Buffer.concat(chunks).toString("latin1");
        expect(tar).not.toContain("KEY");
        if (seed.warnings.length === 0) expect(tar).not.toMatch(/ab|ba/);
        outcomes.set("whole", (outcomes.get("whole") ?? 0) + 1);
      } catch (error) {
        const { code } = error as { code?: string };
        expect(code).toBe("SEED_CHANGED");
        outcomes.set("changed", (outcomes.get("changed") ?? 0) + 1);
      } finally {
        stop.abort();
        await mutate;
      }
      rmSync(file, { force: true });
      rmSync(spare, { force: true });
      writeFileSync(file, content("a"));
    }
    expect(outcomes.get("whole")).toBeGreaterThan(0);
    expect(outcomes.get("changed")).toBeGreaterThan(0);
  });
});
