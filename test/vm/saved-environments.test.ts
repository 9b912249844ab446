/** Environments of workspaces, in real machines: what comes along, what does not, and what goes on meanwhile. */
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { json, machinesOf, pyro, testState, type Result, type TestState } from "./support.js";

const NAME = "my-tools:1";
const SECRET = "hunter2-and-more";
const CANARY = "canary-that-was-deleted-before-the-save";
/** Copying takes what writing a whole disk takes under emulation. */
const SAVE_MS = 500_000;

let state: TestState;
beforeAll(async () => {
  state = await testState();
  await ok("workspace", "create", "debian:12", "--name", "w", "--secret", `TOKEN=${SECRET}`);
});
afterAll(async () => {
  await ok("workspace", "delete", "w");
  expect(await machinesOf(state.path)).toEqual([]);
  await state[Symbol.asyncDispose]();
});

const call = (...args: string[]): Promise<Result> => pyro(args, { stateDir: state.path });
async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await call(...args);
  expect([args.join(" "), code, code === 0 ? "" : stderr]).toEqual([args.join(" "), 0, ""]);
  return stdout.toString();
}
const shell = (line: string): Promise<string> => ok("workspace", "exec", "w", "--", "sh", "-ec", line);
const environments = async (): Promise<Record<string, unknown>[]> =>
  (json(await call("env", "list", "--json")) as { environments: Record<string, unknown>[] }).environments;
const named = async (name: string): Promise<Record<string, unknown>> =>
  (await environments()).find((each) => each["name"] === name) ?? {};

/** How often a text is in a file; it may lie over two pieces. */
async function occurrences(path: string, text: string): Promise<number> {
  let count = 0;
  let rest = Buffer.alloc(0);
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) {
    const data = Buffer.concat([rest, piece as Buffer]);
    for (let at = data.indexOf(text); at >= 0; at = data.indexOf(text, at + text.length)) count += 1;
    rest = Buffer.from(data.subarray(Math.max(0, data.length - text.length + 1)));
  }
  return count;
}

/** What is installed and set up, so that each kind of thing is there; little of the rest is left, to be quick. */
const INSTALL = `
rm -rf /usr/share/doc /usr/share/perl /usr/lib/git-core /usr/lib/x86_64-linux-gnu/perl-base /usr/share/perl5
printf '#!/bin/sh\\necho tool 7\\n' > /usr/local/bin/tool
chmod 4755 /usr/local/bin/tool
ln /usr/local/bin/tool /usr/local/bin/same
ln -s /usr/local/bin/tool /opt/link
useradd -m dev
su dev -c 'echo mine > ~/file; echo typed > ~/.bash_history'
truncate -s 1G /opt/sparse
mkdir -p /etc/ssh; echo key > /etc/ssh/ssh_host_test_key
python3 -c "import os; os.setxattr('/usr/local/bin/tool', 'user.note', b'kept')"
echo project > /workspace/file
for i in $(seq 300); do echo ${CANARY} >> /var/lib/gone; echo ${CANARY} > /root/$i; done
sync
rm /var/lib/gone /root/[0-9]*
sync`;

describe("A saved environment", () => {
  it(
    "is refused while a file holds a secret, by the file's name; nothing is left of the attempt",
    async () => {
      await shell(INSTALL);
      await ok(
        ...["workspace", "exec", "w", "--secret-env", "TOKEN", "--"],
        ...["sh", "-c", "mkdir /etc/app; echo key=$TOKEN | base64 > /etc/app/config; sync"],
      );
      const refused = await call("env", "save", "w", NAME, "--json");
      expect(json(refused)).toMatchObject({
        error: { code: "SECRET_ON_DISK", details: { paths: ["/etc/app/config"], count: 1 } },
      });
      expect(refused.stdout.toString()).not.toContain(SECRET);
      expect(await named(NAME)).toEqual({});
      expect(await readdir(join(state.path, "cache", "pulls"))).toEqual([]);
      expect(await machinesOf(state.path)).toHaveLength(1);
      await shell("rm -r /etc/app");
    },
    SAVE_MS,
  );

  it(
    "is made while the workspace runs on, and holds nothing that was deleted",
    async () => {
      await ok(
        "workspace",
        "service",
        "start",
        "w",
        "tick",
        "--",
        "sh",
        "-c",
        "while sleep 0.2; do date >> /tmp/ticks; done",
      );
      const begin = performance.now();
      const saved = json(await call("env", "save", "w", NAME, "--json"));
      expect(saved).toMatchObject({ environment: NAME, digest: expect.stringMatching(/^sha256:/) as string });
      console.log(`saved in ${((performance.now() - begin) / 1000).toFixed(1)} s: ${JSON.stringify(saved)}`);
      expect(await ok("workspace", "service", "list", "w")).toContain("running");
      const { digest, source } = await named(NAME);
      expect(source).toBe("workspace");
      const image = join(state.path, "cache/images", `${String(digest).replace(":", "-")}.qcow2`);
      expect([await occurrences(image, CANARY), await occurrences(image, SECRET)]).toEqual([0, 0]);
      // The search finds it where it is.
      const [id = ""] = await readdir(join(state.path, "workspaces"));
      const layers = join(state.path, "workspaces", id, "layers");
      const found = await Promise.all(
        (await readdir(layers)).map((file) => occurrences(join(layers, file), CANARY)),
      );
      expect(Math.max(...found)).toBeGreaterThan(0);
      const machineId = (await shell("cat /etc/machine-id")).trim();
      expect([machineId.length, await occurrences(image, machineId)]).toEqual([32, 0]);
    },
    SAVE_MS,
  );

  it("has what was installed, an empty workspace, and machines of an identity of their own", async () => {
    const LOOK = `tool; /opt/link; stat -c '%a %h %U' /usr/local/bin/same; cat /home/dev/file; stat -c %U /home/dev/file
stat -c '%s %b' /opt/sparse; ls -A /workspace /etc/ssh /root /home/dev | tr '\\n' ' '
python3 -c "import os; print(os.getxattr('/usr/local/bin/same', 'user.note').decode())"
cat /etc/resolv.conf; grep -c pyro /etc/hosts; cat /etc/hostname /etc/machine-id; hostname`;
    const shown = await Promise.all([1, 2].map(() => ok("run", NAME, "--", "sh", "-c", LOOK)));
    const [first = "", second = ""] = shown;
    const lines = first.split("\n");
    expect(lines.slice(0, 6)).toEqual(["tool 7", "tool 7", "4755 2 root", "mine", "dev", "1073741824 0"]);
    expect(first).not.toMatch(/_history|ssh_host_test_key|project/);
    expect(first).toContain("kept\nnameserver 127.0.0.1\n2\n");
    const identity = lines.slice(-4, -1);
    expect(identity[0]).toBe(identity[2]);
    expect(second.split("\n").slice(-4, -1)[1]).not.toBe(identity[1]);
    expect(await named(NAME)).toMatchObject({ last_used_at: expect.stringMatching(/^20/) as string });
    const inspected = json(await call("env", "inspect", NAME, "--json"));
    expect(inspected).toMatchObject({ saved_from: { environment: "debian:12" }, origin: null });
  });

  it(
    "is replaced only where that is asked for, also by a stopped workspace, which stays stopped",
    async () => {
      const again = await call("env", "save", "w", NAME);
      expect([again.code, again.stderr]).toEqual([1, expect.stringContaining("ENVIRONMENT_EXISTS")]);
      await shell("echo '#!/bin/sh\necho tool 8' > /usr/local/bin/tool");
      await ok("workspace", "stop", "w");
      const { digest: before } = await named(NAME);
      await ok("env", "save", "w", NAME, "--overwrite");
      expect((await named(NAME))["digest"]).not.toBe(before);
      // The image that it replaced went with it.
      expect((await readdir(join(state.path, "cache/images"))).join()).not.toContain(String(before).slice(7));
      expect(json(await call("workspace", "status", "w", "--json"))).toMatchObject({ state: "stopped" });
      expect(await ok("run", NAME, "--", "tool")).toBe("tool 8\n");
    },
    SAVE_MS,
  );

  it("is seeded like any other, is not deleted while it is used, and stays when all that is pulled is pruned", async () => {
    await ok("workspace", "create", NAME, "--name", "next");
    expect(await ok("workspace", "exec", "next", "--", "sh", "-c", "tool; ls -A /workspace")).toBe(
      "tool 8\n",
    );
    await ok("workspace", "stop", "next");
    const used = await call("env", "delete", NAME);
    expect([used.code, used.stderr]).toEqual([
      1,
      expect.stringMatching(/ENVIRONMENT_IN_USE.*\(next\)/) as string,
    ]);
    await ok("workspace", "delete", "next");
    const dry = json(await call("env", "prune", "--unused", "--dry-run", "--json"));
    expect(dry["removed"]).toContain("debian:12-build");
    expect(dry["removed"]).not.toContain(NAME);
    expect(await named("debian:12-build")).toMatchObject({ installed: true });
    expect(await ok("env", "delete", NAME)).toContain("is deleted");
    expect(await named(NAME)).toEqual({});
    // Its workspace lies on debian:12, not on what was made of it.
    await ok("workspace", "start", "w");
    expect(await shell("tool")).toBe("tool 8\n");
  });
});
