import { spawnSync } from "node:child_process";
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  connectUnix,
  directoriesFor,
  exists,
  fileLogger,
  freshId,
  makePrivateDirectory,
  packagePath,
  readJsonFile,
  scratchDirectory,
  shortSocketPath,
  silentLogger,
  thisBuild,
  tryLock,
  writeFileAtomic,
} from "../../../src/kit/index.js";
import { temporaryState } from "../../fakes/state-directory.js";

describe("writeFileAtomic", () => {
  test("replaces a file whole, private unless told otherwise, and leaves nothing beside it", async () => {
    await using state = await temporaryState();
    const path = join(state.path, "file");
    await writeFileAtomic(path, "old");
    await writeFileAtomic(path, Buffer.from("new"), 0o644);
    expect(await readFile(path, "utf8")).toBe("new");
    expect((await stat(path)).mode & 0o777).toBe(0o644);
    expect(await readdir(state.path)).toEqual(["file"]);
  });

  test("a failure keeps the old content and leaves no temporary file", async () => {
    await using state = await temporaryState();
    await mkdir(join(state.path, "target/inside"), { recursive: true });
    await expect(writeFileAtomic(join(state.path, "target"), "x")).rejects.toThrow();
    await expect(writeFileAtomic(join(state.path, "missing/file"), "x")).rejects.toThrow(/ENOENT/);
    expect(await readdir(state.path)).toEqual(["target"]);
  });
});

test("a JSON file that is missing or torn at any byte is no record", async () => {
  await using state = await temporaryState();
  const path = join(state.path, "file");
  expect(await readJsonFile(path)).toBeUndefined();
  const text = '{"a":[1,2]}';
  for (let length = 0; length < text.length; length++) {
    await writeFile(path, text.slice(0, length));
    expect(await readJsonFile(path)).toBeUndefined();
  }
  await writeFile(path, text);
  expect(await readJsonFile(path)).toEqual({ a: [1, 2] });
  await expect(readJsonFile(state.path)).rejects.toThrow(/EISDIR/);
});

test("private directories are private, and something that stands there is found", async () => {
  await using state = await temporaryState();
  const path = join(state.path, "a/b");
  expect(await exists(path)).toBe(false);
  await makePrivateDirectory(path);
  expect(await exists(path)).toBe(true);
  expect((await stat(path)).mode & 0o777).toBe(0o700);
  await expect(exists(join(path, "x".repeat(300)))).rejects.toThrow(/ENAMETOOLONG/);
});

test("a scratch directory is gone with all it held", async () => {
  await using state = await temporaryState();
  {
    await using scratch = await scratchDirectory(state.path);
    await writeFile(join(scratch.path, "file"), "x");
    await chmod(scratch.path, 0o700);
  }
  expect(await readdir(state.path)).toEqual([]);
});

describe("tryLock", () => {
  test("one holds it, the next one gets it after it is given back", async () => {
    await using state = await temporaryState();
    const path = join(state.path, "lock");
    const first = await tryLock(path);
    expect(first?.path).toBe(path);
    expect(await tryLock(path)).toBeUndefined();
    await first?.[Symbol.asyncDispose]();
    await first?.[Symbol.asyncDispose]();
    await using again = await tryLock(path);
    expect(again).toBeDefined();
  });

  test("other processes are kept out for as long as it is held", async () => {
    await using state = await temporaryState();
    const path = join(state.path, "lock");
    const attempt = () => spawnSync("flock", ["--nonblock", path, "true"]).status;
    const lock = await tryLock(path);
    expect(attempt()).toBe(1);
    await lock?.[Symbol.asyncDispose]();
    expect(attempt()).toBe(0);
  });

  test("a place that cannot be locked rejects", async () => {
    await expect(tryLock("/no/such/directory/lock")).rejects.toThrow(/ENOENT/);
  });
});

describe("the log", () => {
  test("is one JSON object per line", async () => {
    await using state = await temporaryState();
    const path = join(state.path, "log");
    {
      using log = fileLogger(path);
      log.info("start", { pid: 7 });
      log.warn("odd");
      log.error("bad", { text: "two\nlines" });
    }
    const lines = (await readFile(path, "utf8")).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { level: "info", event: "start", pid: 7 },
      { level: "warn", event: "odd" },
      { level: "error", event: "bad", text: "two\nlines" },
    ]);
  });

  test("is rotated once, so that it stays bounded", async () => {
    await using state = await temporaryState();
    const path = join(state.path, "log");
    {
      using log = fileLogger(path);
      const padding = "x".repeat(500_000);
      for (let i = 0; i < 30; i++) log.info("event", { i, padding });
    }
    const sizes = await Promise.all([path, `${path}.1`].map(async (name) => (await stat(name)).size));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(4 * 1024 * 1024);
    expect(await readdir(state.path)).toEqual(["log", "log.1"]);
    expect((await readFile(path, "utf8")).includes('"i":29')).toBe(true);
  });

  test("a log that cannot be written loses lines, never the caller", async () => {
    await using state = await temporaryState();
    using log = fileLogger(join(state.path, "log"));
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    expect(() => log.info("event", circular)).not.toThrow();
    expect(() => silentLogger.error("event")).not.toThrow();
  });
});

describe("unix sockets", () => {
  test("a path of more than 107 bytes can be listened on and connected to", async () => {
    await using state = await temporaryState();
    const directory = join(state.path, "d".repeat(150));
    await mkdir(directory);
    const path = join(directory, "socket");
    await using short = await shortSocketPath(path);
    expect(short.path.length).toBeLessThan(60);
    const server = createServer((socket) => socket.end("hello"));
    await new Promise<void>((resolve) => server.listen(short.path, resolve));
    const socket = await connectUnix(path);
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    expect(text).toBe("hello");
    await new Promise((resolve) => server.close(resolve));
    await short[Symbol.asyncDispose]();
  });

  test("what nobody listens on rejects with the system's error", async () => {
    await using state = await temporaryState();
    await expect(connectUnix(join(state.path, "none"))).rejects.toMatchObject({ code: "ENOENT" });
    await expect(connectUnix("/no/such/directory/socket")).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("directories", () => {
  test("come from the option, or from the user", () => {
    expect(directoriesFor("/x")).toMatchObject({ state: "/x", cache: "/x/cache" });
    const own = directoriesFor();
    if (process.getuid?.() === 0)
      expect(own).toMatchObject({ state: "/var/lib/pyro", cache: "/var/cache/pyro" });
    else expect(own.state).toBe(join(homedir(), ".local/state/pyro"));
  });

  test("of a user are below the home", () => {
    const { getuid } = process;
    process.getuid = () => 1000;
    const own = directoriesFor();
    if (getuid === undefined) delete process.getuid;
    else process.getuid = getuid;
    expect(own).toEqual({
      state: join(homedir(), ".local/state/pyro"),
      cache: join(homedir(), ".cache/pyro"),
      config: join(homedir(), ".config/pyro"),
    });
  });
});

test("ids carry their prefix and never repeat", () => {
  const ids = new Set(Array.from({ length: 1000 }, () => freshId("vm")));
  expect(ids.size).toBe(1000);
  for (const id of ids) expect(id).toMatch(/^vm-[0-9a-f]{16}$/);
});

test("sources that run unbundled have no build of their own, and know the package", async () => {
  expect(thisBuild()).toMatchObject({ buildId: "", mainPath: undefined });
  expect(JSON.parse(await readFile(packagePath("package.json"), "utf8"))).toMatchObject({ name: "pyro-mcp" });
});
