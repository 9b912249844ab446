/** Copies of a workspace that are made while it writes without end, and while the host's disk has no room for them. */
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PyroError } from "../../src/protocol/index.js";
import type { Pyro } from "../../src/sdk/index.js";
import { client, leftovers, machinesOf, testState, type TestState } from "./support.js";

const isRoot = process.getuid?.() === 0;
/** Of one call, whatever it meets. */
const CALL = { timeoutMs: 60_000 };
const KIB = 1024;

let state: TestState;
beforeAll(async () => {
  state = await testState();
});
afterAll(() => state[Symbol.asyncDispose]());

async function run(pyro: Pyro, workspaceId: string, command: string): Promise<string> {
  const { result, output } = await pyro.execWorkspace({ workspaceId, command }, CALL);
  expect([workspaceId, command, result?.exitCode]).toEqual([workspaceId, command, 0]);
  return Buffer.from(output?.stdout.data ?? []).toString();
}

/** Numbers in a file and in memory, and as fast as it can what lies between them: on the disk and in memory. */
const WRITER = `
import os, mmap
log = open("/workspace/log", "ab", 0)
memory = mmap.mmap(-1, 32 << 20)
chunk = os.urandom(1 << 20)
number = 0
while True:
    log.write(b"%08d\\n" % number)
    with open("/workspace/bulk", "wb", 0) as bulk:
        for at in range(8): bulk.write(chunk)
    for at in range(0, 32 << 20, 1 << 20): memory[at:at + (1 << 20)] = chunk
    with open("/dev/shm/written", "w") as written: written.write(str((number + 1) * 40))
    number += 1
`;
const NO_HOLE = "awk 'length($0) == 8 { if ($0+0 != n) exit 1; n++ } END { print n }' log";

describe("A workspace that writes without end", () => {
  it("is forked: parent and child write on, and neither log has a hole", async () => {
    await using pyro = await client(state.path);
    const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
    await pyro.writeWorkspaceFile({ workspaceId, path: "writer.py", content: WRITER });
    await pyro.execWorkspace({ workspaceId, command: "exec python3 writer.py", waitMs: 0 });
    await run(pyro, workspaceId, "until [ -s log ] && [ -s /dev/shm/written ]; do sleep 0.1; done");
    const rate = Number(
      await run(
        pyro,
        workspaceId,
        "a=$(cat /dev/shm/written); sleep 2; b=$(cat /dev/shm/written); echo $(((b-a)/2))",
      ),
    );
    const { children } = await pyro.forkWorkspace(workspaceId, { count: 1, namePrefix: "child" }, CALL);
    console.log(`forked while ${rate} MB/s were written`);
    expect(children.map(({ state: is, runningCommandCount }) => [is, runningCommandCount])).toEqual([
      ["started", 1],
    ]);
    for (const id of [workspaceId, "child-1"]) {
      const before = Number(await run(pyro, id, NO_HOLE));
      await run(pyro, id, `until [ $(wc -l <log) -gt ${before} ]; do sleep 0.1; done`);
      expect(Number(await run(pyro, id, NO_HOLE))).toBeGreaterThan(before);
    }
    for (const { workspaceId: id } of await pyro.listWorkspaces()) await pyro.deleteWorkspace(id, CALL);
    expect(await machinesOf(state.path)).toEqual([]);
    await pyro.stopDaemon({ force: true });
  });
});

// Mounting needs root; as an ordinary user the unit tests have the same faults by other means.
describe.skipIf(!isRoot)("On a host whose disk is full", () => {
  it("a fork, a snapshot and a suspend say so and leave nothing; the workspace goes on, and each works once there is room", async () => {
    const mount = await mkdtemp(join(tmpdir(), "pyro-full-"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=320m,mode=0711", "tmpfs", mount]);
    const stateDir = join(mount, "state");
    await mkdir(join(stateDir, "cache"), { recursive: true, mode: 0o711 });
    execFileSync("mount", ["--bind", join(state.path, "cache"), join(stateDir, "cache")]);
    const filler = join(mount, "filler");
    const fill = async (leaving: number): Promise<void> => {
      await rm(filler, { force: true });
      const { bavail, bsize } = await statfs(mount);
      execFileSync("fallocate", ["-l", String(bavail * bsize - leaving), filler]);
    };
    const pyro = await client(stateDir);
    try {
      const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12", memMib: 512 });
      await run(pyro, workspaceId, "echo volatile >/dev/shm/kept; echo kept >kept; sync");
      const directory = join(stateDir, "workspaces", workspaceId);
      const found = async () => ({
        states: (await pyro.listWorkspaces()).map((workspace) => workspace.state),
        workspaces: await readdir(join(stateDir, "workspaces")),
        files: (await readdir(directory)).filter((name) => /^memory|next|\.tmp$/.test(name)),
        layers: await readdir(join(directory, "layers")).catch(() => []),
        snapshots: (await pyro.listSnapshots(workspaceId)).length,
        machines: (await readdir(join(stateDir, "vms"))).length,
      });
      // The end of the command has been recorded.
      await expect.poll(async () => (await found()).files).toEqual([]);
      const before = await found();
      const ways = {
        fork: () => pyro.forkWorkspace(workspaceId, { count: 2, namePrefix: "child" }, CALL),
        snapshot: () => pyro.createSnapshot({ workspaceId, snapshotName: "one" }, CALL),
        suspend: () => pyro.stopWorkspace(workspaceId, { suspend: true }, CALL),
      };
      // Without a block, with one for a record, with some for a layer and none for the memory.
      for (const [leaving, names] of [
        [0, ["fork", "snapshot", "suspend"]],
        [16 * KIB, ["fork", "snapshot", "suspend"]],
        [1500 * KIB, ["suspend"]],
      ] as const)
        for (const name of names) {
          await fill(leaving);
          const code = await ways[name]().then(
            () => "done",
            (error: unknown) => (error as PyroError).code,
          );
          expect([leaving, name, code]).toEqual([leaving, name, "DISK_FULL"]);
          await rm(filler);
          expect(await run(pyro, workspaceId, "cat /dev/shm/kept kept")).toBe("volatile\nkept\n");
          // The end of a command is just being recorded.
          await expect.poll(found, { message: `${name} with ${leaving} bytes left` }).toEqual(before);
        }
      expect(await readFile(join(stateDir, "daemon.log"), "utf8")).not.toContain('"event":"defect"');
      expect((await ways.fork()).children.map((child) => child.state)).toEqual(["started", "started"]);
      expect(await ways.snapshot()).toMatchObject({ snapshotName: "one" });
      expect((await ways.suspend()).state).toBe("suspended");
      await pyro.startWorkspace(workspaceId);
      expect(await run(pyro, workspaceId, "cat /dev/shm/kept kept")).toBe("volatile\nkept\n");
      for (const { workspaceId: id } of await pyro.listWorkspaces()) await pyro.deleteWorkspace(id, CALL);
      await pyro.stopDaemon({ force: true });
      expect(await leftovers(stateDir)).toEqual([]);
    } finally {
      await rm(filler, { force: true });
      await pyro.stopDaemon({ force: true });
      await pyro[Symbol.asyncDispose]();
      execFileSync("umount", ["-l", join(stateDir, "cache")]);
      execFileSync("umount", ["-l", mount]);
      await rm(mount, { recursive: true });
    }
  });
});
