import { chmod, lstat, mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { encodeTarHeader, exists, TAR_BLOCK, tarEntry, tarPadding } from "../../../src/kit/index.js";
import { exportPath } from "../../../src/workspace/index.js";
import { writeHostFile } from "../../../src/workspace/host-file.js";
import { unpackOnHost } from "../../../src/workspace/host-unpack.js";
import { NEVER, run, WorkspaceHost } from "../../fakes/workspace-host.js";

describe("an export", () => {
  let host: WorkspaceHost;
  let workspace: Awaited<ReturnType<WorkspaceHost["create"]>>;
  let output: string;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
    workspace = await host.create();
    await mkdir(host.path("out"));
    output = host.path("out/it");
  });
  afterEach(async () => {
    await host[Symbol.asyncDispose]();
  });

  const bring = async (path: string, options: { overwrite?: boolean; to?: string } = {}) => {
    const machine = await workspace.machine(NEVER);
    const { overwrite = false, to = output } = options;
    return await exportPath(workspace, machine, { path, outputPath: to, overwrite });
  };
  const beside = () => readdir(host.path("out"));

  it("brings a file with its bytes and its executable bit, and nothing that lends rights or lets others write", async () => {
    await run(workspace, "printf 'a\\0b\\377' > tool; chmod 6777 tool");
    expect(await bring("tool")).toMatchObject({
      ...{ workspacePath: "/workspace/tool", outputPath: output, artifactType: "file" },
      ...{ entryCount: 1, bytesWritten: 4, warnings: [] },
    });
    expect(await readFile(output)).toEqual(Buffer.from("a\0b\xff", "latin1"));
    expect((await lstat(output)).mode & 0o7777).toBe(0o755);
    expect(await beside()).toEqual(["it"]);
  });

  it("brings a directory with all that is in it, links as links", async () => {
    await run(
      workspace,
      "mkdir -p d/empty d/.git/hooks; echo x > d/f; ln -s /etc/passwd d/link; chmod 1777 d/empty",
    );
    await run(
      workspace,
      "echo '#!/bin/sh' > d/.git/hooks/post-checkout; chmod 755 d/.git/hooks/post-checkout",
    );
    const exported = await bring("d/");
    expect(exported).toMatchObject({
      workspacePath: "/workspace/d",
      artifactType: "directory",
      bytesWritten: 12,
    });
    expect(exported.hostExecutablePaths).toMatchObject([{ path: "d/.git/hooks/post-checkout" }]);
    expect(await readlink(`${output}/link`)).toBe("/etc/passwd");
    expect((await lstat(`${output}/empty`)).mode & 0o7777).toBe(0o755);
    expect(await readFile(`${output}/f`, "utf8")).toBe("x\n");
    expect(await beside()).toEqual(["it"]);
  });

  it("brings a link as a link, and all of /workspace", async () => {
    await run(workspace, "ln -s seeded link");
    expect(await bring("link")).toMatchObject({ artifactType: "symlink" });
    expect(await readlink(output)).toBe("seeded");
    await bring("/workspace", { to: `${output}2` });
    expect(await readFile(`${output}2/seeded`, "utf8")).toBe("as seeded\n");
  });

  it("refuses what is not there, and what no host should get", async () => {
    await run(workspace, "mkfifo pipe");
    await expect(bring("none")).rejects.toMatchObject({ code: "GUEST_FILE_NOT_FOUND" });
    await expect(bring("pipe")).rejects.toMatchObject({ code: "GUEST_FILE_REFUSED" });
    await expect(bring("/etc/passwd")).rejects.toMatchObject({ code: "GUEST_FILE_REFUSED" });
    expect(await beside()).toEqual([]);
  });

  it.each(["file", "directory", "dangling link"])(
    "does not replace a %s unless it is told to",
    async (what) => {
      if (what === "file") await writeFile(output, "mine");
      else if (what === "directory") await mkdir(output);
      else await symlink("/nowhere", output);
      await expect(bring("seeded")).rejects.toMatchObject({
        code: "EXPORT_EXISTS",
        hint: expect.stringContaining("--overwrite") as string,
      });
      if (what === "directory") await writeFile(`${output}/mine`, "");
      await bring("seeded", { overwrite: true });
      expect(await readFile(output, "utf8")).toBe("as seeded\n");
      expect(await beside()).toEqual(["it"]);
    },
  );

  it("replaces a file by a directory and back", async () => {
    await run(workspace, "mkdir d; echo x > d/f");
    for (const path of ["seeded", "d", "d", "seeded"]) await bring(path, { overwrite: true });
    expect(await readFile(output, "utf8")).toBe("as seeded\n");
    expect(await beside()).toEqual(["it"]);
  });

  it("names the place where it cannot write, and leaves nothing", async () => {
    await expect(bring("seeded", { to: host.path("none/it") })).rejects.toMatchObject({
      code: "EXPORT_FAILED",
      message: expect.stringContaining("none/it cannot be written (ENOENT)") as string,
    });
    await writeFile(host.path("file"), "");
    await expect(bring("seeded", { to: host.path("file/it") })).rejects.toMatchObject({
      code: "EXPORT_FAILED",
    });
    expect(await exists(`${workspace.paths.directory}/export-pending`)).toBe(false);
  });

  // Root writes everywhere.
  it.skipIf(process.getuid?.() === 0)("into a directory that cannot be written names it", async () => {
    await chmod(host.path("out"), 0o500);
    await expect(bring("seeded")).rejects.toMatchObject({ code: "EXPORT_FAILED" });
    await chmod(host.path("out"), 0o700);
  });

  it("keeps holes as holes, and refuses what the whole disk cannot hold before any of it is there", async () => {
    async function* content(...parts: Buffer[]): AsyncGenerator<Uint8Array> {
      for (const part of parts) yield await Promise.resolve(part);
    }
    const zeros = Buffer.alloc(60 * 1024);
    const pieces = [zeros, Buffer.from("\0\0x"), ...Array<Buffer>(100).fill(zeros)];
    const sizeBytes = Buffer.concat(pieces).length;
    await writeHostFile(output, content(...pieces), { sizeBytes, mode: 0o640 });
    const written = await stat(output);
    expect([written.size, written.mode & 0o777, written.blocks * 512 < 64 * 1024]).toEqual([
      sizeBytes,
      0o640,
      true,
    ]);
    expect((await readFile(output)).equals(Buffer.concat(pieces))).toBe(true);
    const beyond = writeHostFile(host.path("out/huge"), content(), { sizeBytes: 2 ** 52, mode: 0o600 });
    await expect(beyond).rejects.toMatchObject({
      code: "DISK_FULL",
      message: expect.stringContaining(`it has ${2 ** 52} bytes, and the whole disk has`) as string,
      hint: expect.stringContaining("another disk") as string,
    });
    expect(await beside()).toEqual(["it"]);
  });

  it("that fails on its way leaves what was there before", async () => {
    await writeFile(output, "mine");
    await run(workspace, "mkdir d");
    host.machines.before = (step) => {
      if (step === "pack") throw new Error("the guest broke");
    };
    await expect(bring("d", { overwrite: true })).rejects.toThrow();
    expect([await readFile(output, "utf8"), await beside()]).toEqual(["mine", ["it"]]);
  });
});

describe("a guest's tar on the host", () => {
  type Entry = { name: string; type: string; linkName?: string; content?: string; mode?: number };
  const tarOf = (entries: readonly Entry[]): Buffer => {
    const blocks = entries.flatMap(({ name, type, content = "", ...more }) => [
      encodeTarHeader(tarEntry(name, type, { size: content.length, ...more })),
      Buffer.from(content),
      Buffer.alloc(tarPadding(content.length)),
    ]);
    return Buffer.concat([...blocks, Buffer.alloc(2 * TAR_BLOCK)]);
  };
  async function* stream(data: Buffer): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(data);
  }

  it.each([
    ["an absolute name", [{ name: "/tmp/pyro-evil", type: "0", content: "x" }]],
    ["a name with ..", [{ name: "../evil", type: "0", content: "x" }]],
    ["a hard link to the host", [{ name: "hard", type: "1", linkName: "/etc/passwd" }]],
    [
      "a file through a link",
      [
        { name: "./a", type: "2", linkName: "../../outside" },
        { name: "./a/evil", type: "0", content: "x" },
      ],
    ],
    // CVE-2026-26960 and CVE-2026-23745 of node-tar, made anew.
    [
      "a file through chained links",
      [
        { name: "./a", type: "5", mode: 0o755 },
        { name: "./a/b", type: "5", mode: 0o755 },
        { name: "./a/b/up", type: "2", linkName: "../../.." },
        { name: "./a/escape", type: "2", linkName: "b/up/../outside" },
        { name: "./a/escape/evil", type: "0", content: "x" },
      ],
    ],
    [
      "a hard link through a link",
      [
        { name: "./up", type: "2", linkName: "../../outside" },
        { name: "./hard", type: "1", linkName: "./up/secret" },
      ],
    ],
    [
      "a file over a hard link to a link",
      [
        { name: "./up", type: "2", linkName: "../../outside/evil" },
        { name: "./hard", type: "1", linkName: "./up" },
        { name: "./hard", type: "0", content: "x" },
      ],
    ],
    ["a device", [{ name: "./hard", type: "3", mode: 0o666 }]],
  ] as [string, Entry[]][])("with %s reaches nothing outside", async (_, entries) => {
    const host = await WorkspaceHost.start();
    const target = host.path("target/inner");
    await mkdir(target, { recursive: true });
    await mkdir(host.path("outside"));
    await unpackOnHost(stream(tarOf(entries)), target, NEVER).catch(() => undefined);
    expect(await readdir(host.path("outside"))).toEqual([]);
    expect(await readdir(host.path("target"))).toEqual(["inner"]);
    expect(await exists("/tmp/pyro-evil")).toBe(false);
    // A link that nobody followed, or a file of its own, depending on which of the two tar made last; never the host's.
    const hard = await lstat(`${target}/hard`).catch(() => undefined);
    expect(hard?.isSymbolicLink() !== false || (hard.isFile() && hard.nlink === 1)).toBe(true);
    await host[Symbol.asyncDispose]();
  });

  it("that is cut off, or left by its caller, is an error", async () => {
    const host = await WorkspaceHost.start();
    const target = host.path("target");
    await mkdir(target);
    const whole = tarOf([{ name: "./f", type: "0", content: "x".repeat(5000), mode: 0o644 }]);
    await expect(unpackOnHost(stream(whole.subarray(0, 2000)), target, NEVER)).rejects.toThrow(/cut off/);
    await expect(unpackOnHost(stream(whole), target, AbortSignal.abort(new Error("left")))).rejects.toThrow(
      "left",
    );
    await writeFile(host.path("no-directory"), "");
    await expect(unpackOnHost(stream(whole), host.path("no-directory"), NEVER)).rejects.toMatchObject({
      code: "EXPORT_FAILED",
    });
    await host[Symbol.asyncDispose]();
  });
});
