/** What nobody should give to a workspace, and what it says to it: a code, what was seen, the next thing to type. */
import { execFileSync } from "node:child_process";
import { chmod, mkdir, readdir, readFile, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { json, machinesOf, pyro, testState, type Result, type TestState } from "./support.js";

const isRoot = process.getuid?.() === 0;
const MIB = 1024 * 1024;

let state: TestState;
let sources: string;
const source = (name: string): string => join(sources, name);
const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
const text = ({ stdout }: Result): string => stdout.toString();

/** Fails with a code, the words of the message, and a hint. */
async function refused(result: Promise<Result>, code: string, message: RegExp, hint: RegExp): Promise<void> {
  const { code: exit, stderr, stdout } = await result;
  expect([exit, stdout.toString()]).toEqual([1, ""]);
  const lines = stderr.trimEnd().split("\n");
  const at = lines.findIndex((line) => line.startsWith(`${code}: `));
  expect([stderr, at >= 0]).toEqual([stderr, true]);
  expect(lines[at]).toMatch(message);
  expect(lines[at + 1]).toMatch(/^hint: ./);
  expect(lines[at + 1]).toMatch(hint);
}

beforeAll(async () => {
  state = await testState();
  sources = join(state.path, "sources");
  await mkdir(sources);
});
afterAll(() => state[Symbol.asyncDispose]());

describe("A seed", () => {
  it("of nothing is an empty workspace", async () => {
    await mkdir(source("nothing"));
    const created = json(await call("create", "debian:12", "--seed-path", source("nothing"), "--json"));
    expect(created).toMatchObject({
      state: "started",
      workspace_seed: { mode: "directory", entry_count: 0 },
    });
    const id = String(created["workspace_id"]);
    expect(text(await call("exec", id, "--", "ls", "-A"))).toBe("");
    expect(text(await call("diff", id))).toBe("nothing changed\n");
    await call("delete", id);
  });

  it("with loops of links keeps them, and walks none of them", async () => {
    await mkdir(source("loops"));
    await symlink("b", source("loops/a"));
    await symlink("a", source("loops/b"));
    await symlink(".", source("loops/self"));
    await symlink("/", source("loops/root"));
    const created = json(await call("create", "debian:12", "--seed-path", source("loops"), "--json"));
    expect(created).toMatchObject({ workspace_seed: { entry_count: 4, bytes: 0 } });
    const id = String(created["workspace_id"]);
    const shown = await call("exec", id, "--", "sh", "-c", "for f in *; do readlink $f; done");
    expect(text(shown)).toBe("b\na\n/\n.\n");
    expect(
      text(await call("file", "list", id, "--recursive"))
        .trimEnd()
        .split("\n"),
    ).toHaveLength(4);
    await refused(
      call("file", "read", id, "a"),
      "GUEST_FILE_REFUSED",
      /"\/workspace\/a".*too many levels/,
      /path/,
    );
    expect(text(await call("diff", id))).toBe("nothing changed\n");
    await call("delete", id);
  });

  it("of one large file of holes arrives whole, and takes no room on the host", async () => {
    const sizeBytes = 300 * MIB;
    await mkdir(source("large"));
    await writeFile(source("large/holes"), "");
    await truncate(source("large/holes"), sizeBytes);
    const created = json(await call("create", "debian:12", "--seed-path", source("large"), "--json"));
    expect(created).toMatchObject({ state: "started", workspace_seed: { entry_count: 1, bytes: sizeBytes } });
    const id = String(created["workspace_id"]);
    expect(text(await call("exec", id, "--", "stat", "-c", "%s", "holes"))).toBe(`${sizeBytes}\n`);
    const { blocks } = await stat(join(state.path, "workspaces", id, "baseline.qcow2"));
    expect(blocks * 512).toBeLessThan(50 * MIB);
    await call("delete", id);
  });

  it.each<[string, () => Promise<void> | void, string, RegExp, RegExp]>([
    [
      "a file larger than the guest's disk",
      async () => {
        await mkdir(source("a"));
        await writeFile(source("a/twenty"), "");
        await truncate(source("a/twenty"), 20 * 1024 * MIB);
      },
      "GUEST_DISK_FULL",
      /"twenty": .*larger than the disk: it has 21474836480 bytes/,
      /leave it out/,
    ],
    [
      "an archive with a name that leads out",
      () => tar("-cPf", source("a"), "--transform", "s,^,../../,", "nothing"),
      "SEED_ARCHIVE_INVALID",
      /entry "\.\.\/\.\.\/nothing\/": its name contains "\.\."/,
      /tar czf/,
    ],
    [
      "an archive with a name from the root",
      () => tar("-cPf", source("a"), "--transform", "s,^,/etc/,", "nothing"),
      "SEED_ARCHIVE_INVALID",
      /entry "\/etc\/nothing\/": its name is absolute/,
      /tar czf/,
    ],
    [
      "a truncated archive",
      async () => {
        await writeFile(source("content"), Buffer.alloc(MIB, "0123456789"));
        tar("-cf", source("a"), "content");
        await truncate(source("a"), MIB / 2);
      },
      "SEED_ARCHIVE_INVALID",
      /it ends too early, after or within entry "content": it was cut off/,
      /tar czf/,
    ],
    [
      "a corrupt archive",
      async () => {
        tar("-czf", source("a"), "content");
        const bytes = await readFile(source("a"));
        bytes.fill(0xff, 600, 640);
        await writeFile(source("a"), bytes);
      },
      "SEED_ARCHIVE_INVALID",
      /its compression is damaged or cut off/,
      /tar czf/,
    ],
    [
      "what is no archive",
      () => writeFile(source("a"), Buffer.alloc(5000, "no tar at all ")),
      "SEED_ARCHIVE_INVALID",
      /it is no tar/,
      /tar czf/,
    ],
    ["what is not there", () => undefined, "SEED_NOT_FOUND", /sources\/a"/, /--seed-path PATH/],
    ["a pipe", () => void execFileSync("mkfifo", [source("a")]), "SEED_ARCHIVE_INVALID", /sources\/a"/, /./],
  ])("of %s is refused, and leaves nothing", async (_, make, code, message, hint) => {
    await rm(source("a"), { recursive: true, force: true });
    await make();
    await refused(
      call("create", "debian:12", "--name", "bad", "--seed-path", source("a")),
      code,
      message,
      hint,
    );
    expect(json(await call("list", "--json"))).toMatchObject({ count: 0 });
    expect(await readdir(join(state.path, "workspaces"))).toEqual([]);
    expect(await machinesOf(state.path)).toEqual([]);
  });
});

function tar(...args: string[]): void {
  execFileSync("tar", ["-C", sources, ...args], { stdio: ["ignore", "ignore", "ignore"] });
}

/** A name that clears a terminal, and goes on as if it were another entry. */
const TRICKY = "name\u001b[2J\n1 B";

describe("A workspace", () => {
  let id: string;
  let outside: string;
  const at = (name: string): string => join(outside, name);
  beforeAll(async () => {
    id = text(await call("create", "debian:12", "--name", "one", "--id-only")).trim();
    const script = [
      "mkfifo pipe; mkdir dir; printf 'a\\0b' > binary; truncate -s 10G ten; echo text > text",
      "ln -s /dev/zero zero; ln -s /etc/passwd passwd; mknod device c 1 5; echo no > /workspace2",
      "mkdir /workspace2.d; echo no > /workspace2.d/x; mkdir many; seq 1 20000 > many/a; cp many/a many/b",
      `printf '\\033]0;owned\\007' > '${TRICKY}'; head -c 300000 /dev/urandom > random`,
    ].join("\n");
    expect((await call("exec", id, "--", "sh", "-c", script)).code).toBe(0);
    outside = join(state.path, "outside");
    await mkdir(outside);
  });
  afterAll(async () => {
    await call("delete", id);
    expect(await machinesOf(state.path)).toEqual([]);
  });

  it.each([
    ["dir", /is a directory/],
    ["pipe", /is a pipe/],
    ["device", /is a device/],
    ["zero", /leads out of/],
    ["passwd", /leads out of/],
    ["/dev/zero", /leads out of/],
    ["/proc/cpuinfo", /leads out of/],
    ["/workspace2", /leads out of/],
    ["/workspace2.d/x", /leads out of/],
    ["../etc/passwd", /leads out of/],
  ])("does not read %s, and says why at once", async (path, message) => {
    await refused(
      call("file", "read", id, path),
      "GUEST_FILE_REFUSED",
      message,
      /regular file|below "\/workspace"/,
    );
  });

  it("reads a window of a file of 10 GB, anywhere in it", async () => {
    const window = { size_bytes: 10 * 1024 * MIB, truncated: true, shown_bytes: 5, replaced: false };
    const read = (offset: number) =>
      call("file", "read", id, "ten", "--max-bytes", "5", "--offset", String(offset), "--json");
    expect(json(await read(0))).toMatchObject({ ...window, content: "\0".repeat(5), next_offset: 5 });
    expect(json(await read(9 * 1024 * MIB))).toMatchObject(window);
    await refused(
      call("file", "edit", id, "ten", "--old-text", "a", "--new-text", "b"),
      "GUEST_FILE_REFUSED",
      /"\/workspace\/ten" has 10737418240 bytes; at most/,
      /sed/,
    );
  });

  it.each(["dir", "pipe", "device", "passwd", "/pyro", "/etc/passwd", "/run/x", "../x"])(
    "does not write to %s",
    async (path) => {
      await refused(
        call("file", "write", id, path, "--text", "x"),
        "GUEST_FILE_REFUSED",
        /is a (directory|pipe|device)|leads out of/,
        /regular file|below/,
      );
    },
  );

  it.each([
    [
      "of a binary file",
      "--- a/binary\n+++ b/binary\n@@ -1 +1 @@\n-a\n+b\n",
      "PATCH_DOES_NOT_APPLY",
      /binary: is a binary file/,
    ],
    [
      "in git's binary form",
      "diff --git a/binary b/binary\nGIT binary patch\nliteral 1\nKc\n",
      "PATCH_INVALID",
      /line 2.*binary patches are refused/,
    ],
    [
      "that leads out",
      "--- a/../etc/passwd\n+++ b/../etc/passwd\n@@ -1 +1 @@\n-a\n+b\n",
      "PATCH_INVALID",
      /line 1/,
    ],
    ["through a link", "--- a/passwd\n+++ b/passwd\n@@ -1 +1 @@\n-a\n+b\n", "GUEST_FILE_REFUSED", /passwd/],
    ["of a directory", "--- a/dir\n+++ b/dir\n@@ -1 +1 @@\n-a\n+b\n", "PATCH_DOES_NOT_APPLY", /dir/],
    ["of a pipe", "--- a/pipe\n+++ b/pipe\n@@ -1 +1 @@\n-a\n+b\n", "PATCH_DOES_NOT_APPLY", /pipe/],
  ])("takes no patch %s, and changes nothing", async (_, patch, code, message) => {
    const before = text(await call("diff", id));
    await refused(call("patch", "apply", id, "--patch", patch), code, message, /./);
    expect(text(await call("diff", id))).toBe(before);
  });

  it("shows names and contents so that they harm no terminal", async () => {
    const calls = [
      ["file", "list", id],
      ["file", "read", id, TRICKY],
      ["diff", id, "--stat"],
    ];
    const shown = (await Promise.all(calls.map((args) => call(...args)))).map(text);
    expect(shown.join("")).not.toMatch(/\u001b|\u0007/);
    expect(shown[1]).toContain("^[]0;owned^G");
    // A line of the name is no line of ours.
    for (const listed of [shown[0], shown[2]]) expect(listed).toContain("name^[[2J^J1 B");
  });

  it("exports onto nothing that is there, and nothing that is no file, directory or link", async () => {
    await writeFile(at("file"), "mine");
    await mkdir(at("directory"));
    await symlink("nowhere", at("dangling"));
    for (const name of ["file", "directory", "dangling"])
      await refused(
        call("export", id, "text", "--output", at(name)),
        "EXPORT_EXISTS",
        new RegExp(name),
        /--overwrite/,
      );
    for (const name of ["pipe", "device"])
      await refused(
        call("export", id, name, "--output", at("new")),
        "GUEST_FILE_REFUSED",
        /cannot be exported/,
        /./,
      );
    await refused(
      call("export", id, "none", "--output", at("new")),
      "GUEST_FILE_NOT_FOUND",
      /"\/workspace\/none"/,
      /file list/,
    );
    await refused(
      call("export", id, "text", "--output", at("no/new")),
      "EXPORT_FAILED",
      /no\/new cannot be written \(ENOENT\)/,
      /mkdir -p/,
    );
    await refused(
      call("export", id, "text", "--output", at("file/new")),
      "EXPORT_FAILED",
      /ENOTDIR/,
      /directory/,
    );
    await refused(
      call("export", id, "/etc/passwd", "--output", at("new")),
      "GUEST_FILE_REFUSED",
      /leads out of/,
      /below/,
    );
    expect((await readdir(outside)).sort()).toEqual(["dangling", "directory", "file"]);
    expect(await readFile(at("file"), "utf8")).toBe("mine");
  });

  it("exports a whole directory without its pipes and devices, and says so", async () => {
    const { code, stdout } = await call("export", id, "dir", "--output", at("whole"), "--json");
    expect([code, (JSON.parse(stdout.toString()) as { warnings: string[] }).warnings]).toEqual([0, []]);
    await call(
      "exec",
      id,
      "--",
      "sh",
      "-c",
      "mkfifo dir/pipe; mknod dir/device c 1 5; ln -s /etc/passwd dir/link",
    );
    const again = json(await call("export", id, "dir", "--output", at("again"), "--json"));
    expect(again["warnings"]).toEqual(["2 devices, FIFOs or sockets were left out"]);
    expect(await readdir(at("again"))).toEqual(["link"]);
    await rm(at("whole"), { recursive: true });
    await rm(at("again"), { recursive: true });
  });

  it.skipIf(!isRoot)(
    "that is exported into a full directory leaves nothing there, and names it",
    async () => {
      await mkdir(at("full"));
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=128k", "none", at("full")]);
      try {
        for (const what of ["random", "many"]) {
          const to = at(`full/${what}`);
          await refused(
            call("export", id, what, "--output", to),
            "DISK_FULL",
            new RegExp(`${to} does not fit`),
            /another disk/,
          );
          expect(await readdir(at("full"))).toEqual([]);
        }
        // What the disk cannot hold at all is refused before it is begun.
        const ten = call("export", id, "ten", "--output", at("full/ten"));
        await refused(
          ten,
          "DISK_FULL",
          /it has 10737418240 bytes, and the whole disk has 131072/,
          /another disk/,
        );
        execFileSync("mount", ["-o", "remount,ro", at("full")]);
        const readOnly = call("export", id, "text", "--output", at("full/text"));
        await refused(
          readOnly,
          "EXPORT_FAILED",
          /full\/text cannot be written \(EROFS\)/,
          /that you can write/,
        );
        expect((await call("export", id, "text", "--output", at("text"))).code).toBe(0);
      } finally {
        execFileSync("umount", [at("full")]);
      }
    },
  );

  // Root writes everywhere.
  it.skipIf(isRoot)("that is exported into a directory of somebody else's names it", async () => {
    await mkdir(at("theirs"), { mode: 0o500 });
    for (const what of ["text", "dir"]) {
      const result = call("export", id, what, "--output", at(`theirs/${what}`));
      await refused(result, "EXPORT_FAILED", /cannot be written \(EACCES\)/, /that you can write/);
    }
    await chmod(at("theirs"), 0o700);
    expect(await readdir(at("theirs"))).toEqual([]);
  });

  it("is not found by a name that two have, and by its id it is", async () => {
    const second = text(await call("create", "debian:12", "--name", "one", "--id-only")).trim();
    await refused(
      call("status", "one"),
      "AMBIGUOUS_REFERENCE",
      new RegExp(`"one" fits 2 workspaces: .*${second}`),
      /whole id/,
    );
    await refused(
      call("status", "two"),
      "WORKSPACE_NOT_FOUND",
      /there is no workspace "two"/,
      /workspace list/,
    );
    expect(json(await call("status", second, "--json"))).toMatchObject({ name: "one", state: "started" });
    await call("delete", second);
    expect(json(await call("status", "one", "--json"))).toMatchObject({ workspace_id: id });
    await refused(call("delete", second), "WORKSPACE_NOT_FOUND", new RegExp(second), /workspace list/);
  });
});
