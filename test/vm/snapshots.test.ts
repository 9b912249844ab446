/** The disk of one workspace in a real machine: snapshots while it writes, resets back and forth, what a stopped one holds. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { json, machinesOf, pyro, start, testState, type Result, type TestState } from "./support.js";

let state: TestState;
beforeAll(async () => {
  state = await testState();
  await ok("create", "debian:12", "--name", "w");
});
afterAll(async () => {
  await ok("delete", "w");
  expect(await machinesOf(state.path)).toEqual([]);
  await state[Symbol.asyncDispose]();
});

const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await call(...args);
  expect([args.join(" "), code, code === 0 ? "" : stderr]).toEqual([args.join(" "), 0, ""]);
  return stdout.toString();
}
const shell = (line: string): Promise<string> => ok("exec", "w", "--", "sh", "-c", line);
async function layers(): Promise<string[]> {
  const [id = ""] = await readdir(join(state.path, "workspaces"));
  const directory = join(state.path, "workspaces", id, "layers");
  return (await readdir(directory)).map((file) => join(directory, file));
}
/** Numbers, each with a checksum over all that came before: a file that lacks or garbles any of them shows it. */
const WRITER =
  "import os,sys\nf=open('/workspace/log','ab',0)\ni=0\nb=os.urandom(1<<20)\n" +
  "while True:\n f.write(b'%08d\\n'%i); i+=1\n" +
  " g=open('/workspace/bulk','wb',0); g.write(b*8); g.close()\n";

describe("A workspace's disk", () => {
  it("is snapshot while it is written to, and each snapshot is a whole file system of its time", async () => {
    await shell("echo one > state");
    await ok("file", "write", "w", "writer.py", "--text", WRITER);
    const writing = start(["workspace", "exec", "w", "--", "python3", "writer.py"], {
      stateDir: state.path,
    }).done;
    await shell("until [ -s log ] && [ -s bulk ]; do sleep 0.1; done");
    await ok("snapshot", "create", "w", "one");
    await shell("echo two > state; apt-mark showmanual > /etc/mine");
    await ok("snapshot", "create", "w", "two");
    await shell("echo three > state");
    const { entries } = json(await call("logs", "w", "--json")) as {
      entries: { sequence: number; command: string; state: string }[];
    };
    const writer = entries.find(({ command }) => command.includes("writer.py"));
    expect(writer?.state).toBe("running");
    await ok("cancel", "w", String(writer?.sequence));
    expect((await writing).code).not.toBe(0);
    const sizes = await Promise.all((await layers()).map((path) => stat(path)));
    expect(sizes.map(({ mode, uid }) => [mode & 0o777, uid])).toEqual(
      sizes.map(() => [0o444, process.getuid?.() ?? 0]),
    );
    for (const path of await layers()) {
      // QEMU has it open; nobody writes to it, so that it needs no leave to be read.
      const options = JSON.stringify({
        driver: "qcow2",
        file: { driver: "file", filename: path },
        backing: null,
      });
      expect(spawnSync("qemu-img", ["check", `json:${options}`]).status).toBe(0);
    }
    const { snapshots } = json(await call("snapshot", "list", "w", "--json")) as {
      snapshots: { snapshot_name: string; bytes: number }[];
    };
    expect(snapshots.map(({ snapshot_name: name }) => name)).toEqual(["baseline", "one", "two"]);
  });

  it("is reset back and forth, in any order; the log of a writer has no hole in any of them", async () => {
    for (const name of ["one", "two", "one"]) {
      const begin = performance.now();
      await ok("reset", "w", "--snapshot", name);
      const resetMs = performance.now() - begin;
      const bare = performance.now();
      await pyro(["--version"], { stateDir: state.path });
      console.log(
        `reset to ${name}: ${resetMs.toFixed(0)} ms, the command itself ${(performance.now() - bare).toFixed(0)} ms`,
      );
      expect(await shell("cat state")).toBe(`${name}\n`);
      const whole = "awk 'length($0) == 8 { if ($0+0 != n) exit 1; n++ } END { print (n > 0) }' log";
      expect(await shell(whole)).toBe("1\n");
      await shell("rm -r log state");
    }
    expect((await call("exec", "w", "--", "cat", "/etc/mine")).code).toBe(1);
    expect(await ok("diff", "w", "--stat")).toContain("writer.py");
  });

  it("keeps what the chain needs when a snapshot in its middle is deleted", async () => {
    await ok("reset", "w", "--snapshot", "two");
    await ok("snapshot", "delete", "w", "one");
    expect(await layers()).toHaveLength(2);
    expect(await shell("cat state /etc/mine | head -1")).toBe("two\n");
    const refused = await call("snapshot", "create", "w", "two");
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("SNAPSHOT_EXISTS")]);
  });

  it("is listed, read and exported while the workspace is stopped; nothing that a guest forged is followed", async () => {
    const secret = join(state.path, "host-secret");
    await writeFile(secret, "host secret\n".repeat(100_000));
    const forged = join(state.path, "forged");
    const made = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, forged, "16G"];
    expect(spawnSync("qemu-img", made).status).toBe(0);
    const header = (await readFile(forged)).subarray(0, 1024).toString("base64");
    // Where ext4 has no data: the first 1024 bytes of the disk are for boot loaders.
    await shell(
      `echo ${header} | base64 -d > /dev/vda; sync; head -c 4 /dev/vda | od -An -c; head -c 3000000 /dev/urandom > random`,
    );
    const sum = (await shell("sha256sum random")).split(" ")[0];
    const running = await call("disk", "list", "w", "/etc");
    expect([running.code, running.stderr]).toEqual([1, expect.stringContaining("WORKSPACE_RUNNING")]);
    await ok("stop", "w");
    expect(await ok("disk", "list", "w", ".")).toContain("random");
    expect(await ok("disk", "read", "w", "state", "--content-only")).toBe("two\n");
    expect(await ok("disk", "read", "w", "/etc/debian_version", "--content-only")).toMatch(/^12\./);
    expect(await machinesOf(state.path)).toEqual([]);

    const image = join(state.path, "disk.ext4");
    await ok("disk", "export", "w", "--output", image);
    expect((await call("disk", "export", "w", "--output", image)).stderr).toContain("EXPORT_EXISTS");
    const { size, blocks } = await stat(image);
    expect([size, blocks * 512 < size / 4]).toEqual([16 * 1024 ** 3, true]);
    await using file = await open(image, "r");
    const head = Buffer.alloc(2048);
    await file.read(head, 0, head.length, 0);
    // The forged header came along as data; the file system's own magic number stands where ext4 has it.
    expect([head.subarray(0, 4).toString("latin1"), head.readUInt16LE(1024 + 56)]).toEqual([
      "QFI\xfb",
      0xef53,
    ]);
    // debugfs and e2fsck do not mount: they read, as the image's owner may do.
    if (spawnSync("debugfs", ["-V"]).error !== undefined) {
      console.log("skipped: the host has no e2fsprogs");
      return;
    }
    expect(spawnSync("e2fsck", ["-fn", image]).status).toBe(0);
    const random = spawnSync("debugfs", ["-R", "cat /workspace/random", image], { maxBuffer: 1e8 }).stdout;
    expect(createHash("sha256").update(random).digest("hex")).toBe(sum);
    await rm(image);
    await ok("start", "w");
    expect(await shell("cat state")).toBe("two\n");
  });
});
