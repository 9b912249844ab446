import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BuildContext } from "../../../src/build/context.js";

const place = { text: "Dockerfile:3", line: 3 };
const signal = new AbortController().signal;
const root = { uid: 0, gid: 0 };

let directory: string;
let top: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-context-"));
  top = join(directory, "context");
  await mkdir(join(top, "src/deep"), { recursive: true });
  await writeFile(join(top, "src/a.txt"), "a");
  await writeFile(join(top, "src/b.log"), "b");
  await writeFile(join(top, "src/deep/c.txt"), "c");
  await writeFile(join(directory, "secret"), "not yours");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function found(source: string): Promise<string[]> {
  await using context = await BuildContext.open(top);
  return (await context.find(place, source)).map(({ kind, path }) => `${kind} ${path}`);
}

async function digest(source = "src", options: object = {}): Promise<string> {
  await using context = await BuildContext.open(top);
  const [first] = await context.find(place, source);
  if (first === undefined) throw new Error("nothing there");
  return await context.digest(first, { ...root, ...options }, signal);
}

/** Names of what is sent, by the host's own tar. */
async function sent(source: string, name = "x"): Promise<string[]> {
  await using context = await BuildContext.open(top);
  const [first] = await context.find(place, source);
  if (first === undefined) throw new Error("nothing there");
  const expected = await context.digest(first, root, signal);
  const chunks: Buffer[] = [];
  for await (const chunk of context.stream(first, { ...root, name, digest: expected }, signal))
    chunks.push(chunk);
  return execFileSync("tar", ["-tf", "-"], { input: Buffer.concat(chunks) })
    .toString()
    .trim()
    .split("\n")
    .sort();
}

describe("A build's context", () => {
  it("finds files and directories by their names and by patterns within them", async () => {
    expect(await found(".")).toEqual(["directory "]);
    expect(await found("/src/")).toEqual(["directory src"]);
    expect(await found("src/*.txt")).toEqual(["file src/a.txt"]);
    expect(await found("s?c/[ab].*")).toEqual(["file src/a.txt", "file src/b.log"]);
    expect(await found("src/*")).toEqual(["file src/a.txt", "file src/b.log", "directory src/deep"]);
    await expect(found("src/none")).rejects.toMatchObject({ code: "BUILD_SOURCE_NOT_FOUND" });
    await expect(found("none*")).rejects.toThrow(/Dockerfile:3: there is no "none\*"/);
    await expect(BuildContext.open(join(directory, "none"))).rejects.toMatchObject({
      code: "BUILD_SOURCE_NOT_FOUND",
    });
  });

  it.each(["../secret", "src/../../secret", "a/../.."])("%s does not lead out of it", async (source) => {
    await expect(found(source)).rejects.toMatchObject({ code: "BUILD_FILE_INVALID", details: { line: 3 } });
  });

  it("does not follow links, neither as a source nor on the way to one", async () => {
    await symlink("../secret", join(top, "out"));
    await symlink("..", join(top, "up"));
    await symlink("src", join(top, "inside"));
    for (const source of ["out", "up/secret", "inside/a.txt"]) {
      await expect(found(source)).rejects.toMatchObject({ code: "BUILD_FILE_INVALID" });
    }
    expect(await found("*")).toEqual(["directory src"]);
    expect(await sent(".")).toEqual([
      "inside",
      "out",
      "src/",
      "src/a.txt",
      "src/b.log",
      "src/deep/",
      "src/deep/c.txt",
      "up",
    ]);
  });

  it("leaves out what .dockerignore says", async () => {
    await writeFile(join(top, ".dockerignore"), "# no logs\n**/*.log\nsrc/deep\n!src/deep/c.txt\n");
    expect(await sent(".")).toEqual([".dockerignore", "src/", "src/a.txt", "src/deep/c.txt"]);
    await expect(found("src/b.log")).rejects.toThrow(/\.dockerignore leaves it out/);
    await writeFile(join(top, ".dockerignore"), Buffer.alloc(1024 * 1024 + 1));
    await expect(found(".")).rejects.toMatchObject({ code: "BUILD_LIMIT_EXCEEDED" });
    await rm(join(top, ".dockerignore"));
    await symlink("../secret", join(top, ".dockerignore"));
    await expect(found(".")).rejects.toMatchObject({ code: "BUILD_FILE_INVALID" });
  });

  it("sends a directory's content by names below it, and a file by the name it is to have", async () => {
    expect(await sent("src")).toEqual(["a.txt", "b.log", "deep/", "deep/c.txt"]);
    expect(await sent("src/a.txt", "renamed")).toEqual(["renamed"]);
    const long = "n".repeat(200);
    expect(await sent("src/a.txt", long)).toEqual([long]);
  });

  it("is the same whatever the times are, and another when anything else changes", async () => {
    const before = await digest();
    await utimes(join(top, "src/a.txt"), 1, 1);
    expect(await digest()).toBe(before);
    const seen = new Set([before]);
    const changes: (() => Promise<unknown>)[] = [
      () => writeFile(join(top, "src/a.txt"), "A"),
      () => chmod(join(top, "src/a.txt"), 0o755),
      () => chmod(join(top, "src/deep"), 0o700),
      () => writeFile(join(top, "src/new"), ""),
      () => rm(join(top, "src/b.log")),
      () => symlink("x", join(top, "src/link")),
      () => rm(join(top, "src/link")).then(() => symlink("y", join(top, "src/link"))),
    ];
    for (const change of changes) {
      await change();
      const now = await digest();
      expect(seen).not.toContain(now);
      seen.add(now);
    }
    expect(await digest("src", { uid: 7 })).not.toBe(await digest());
    expect(await digest("src/a.txt", { mode: 0o600 })).not.toBe(await digest("src/a.txt"));
  });

  it("is an error when it changes between the two looks", async () => {
    await using context = await BuildContext.open(top);
    const [source] = await context.find(place, "src");
    if (source === undefined) throw new Error("nothing there");
    const expected = await context.digest(source, root, signal);
    await writeFile(join(top, "src/a.txt"), "other");
    const drain = async () => {
      for await (const _ of context.stream(source, { ...root, name: "src", digest: expected }, signal));
    };
    await expect(drain()).rejects.toMatchObject({ code: "SEED_CHANGED" });
  });
});
