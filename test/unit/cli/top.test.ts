import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { screenOf } from "../../../src/cli/top-screen.js";
import { toTopView } from "../../../src/operations/workspace/top.js";
import type { WorkspacesUsage } from "../../../src/sdk/index.js";
import { sleep } from "../../../src/kit/index.js";
import { cli } from "../../fakes/cli-host.js";
import { startFakeDaemon, type FakeScript } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

/** A daemon whose first workspace works half of the time, and whose second is stopped. */
function busy(daemonId = "one"): FakeScript {
  let looks = 0;
  return {
    top: {
      look: () => {
        const at = (looks += 1);
        return {
          ...{ daemonId, cpuCount: 2, atUs: BigInt(at * 1_000_000) },
          workspaces: [
            {
              ...{
                workspaceId: "ws-0123456789abcdef",
                name: "fix-1",
                environment: "debian:12",
                state: "started",
              },
              ...{ isolation: "kvm", vcpuCount: 1, memMib: 1024, pid: 4711, cpuUs: BigInt(at * 500_000) },
              ...{ memoryBytes: 200_000_000n, diskBytes: 5_000_000n, runningCommands: 2 },
              ...{ lastCommand: "make\u001b[2J -j", lastActivityAtMs: 1n },
            },
            {
              ...{ workspaceId: "ws-fedcba9876543210", environment: "debian:12", state: "stopped" },
              ...{ vcpuCount: 1, memMib: 512, diskBytes: 0n, lastActivityAtMs: 0n },
            },
          ],
        };
      },
    },
  };
}

const TABLE = [
  "2 workspaces, 1 with a machine: CPU 50 % of 200 %, memory 200 MB",
  "WORKSPACE            STATE    CPU %  MEMORY  DISK    RUNS  LAST COMMAND",
  "fix-1 (ws-0123)      started  50.0   200 MB  5.0 MB  2     make^[[2J -j",
  "ws-fedcba9876543210  stopped  -      -       0 B     0     -",
];

test("without a terminal the figures are printed once, the guest's words made harmless", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path, busy());
  const { status, stdout } = await cli(["--state-dir", state.path, "workspace", "top"]);
  expect([status, stdout]).toEqual([0, `${TABLE.join("\n")}\n`]);
});

test("with --json it is one document with the contract's field names", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path, busy());
  const { stdout } = await cli(["--state-dir", state.path, "workspace", "top", "--json"], { tty: true });
  expect(JSON.parse(stdout)).toMatchObject({
    ...{ cpu_count: 2, count: 2 },
    workspaces: [
      {
        workspace_id: "ws-0123456789abcdef",
        cpu_percent: 50,
        cpu_ms: 1000,
        memory_bytes: 200_000_000,
        pid: 4711,
      },
      { workspace_id: "ws-fedcba9876543210", name: null, cpu_percent: null, pid: null, last_command: null },
    ],
  });
});

test("with no workspace it says how to make one", async () => {
  await using state = await temporaryState();
  const look = () => ({ daemonId: "one", cpuCount: 2, atUs: 1n, workspaces: [] });
  await using _daemon = await startFakeDaemon(state.path, { top: { look } });
  const { stdout } = await cli(["--state-dir", state.path, "workspace", "top", "--once"], { tty: true });
  expect(stdout).toBe(
    "0 workspaces, 0 with a machine: CPU 0 % of 200 %, memory 0 B\n" +
      "there are none; `pyro workspace create debian:12` makes one\n",
  );
});

/** A terminal's input, and what was done to it. */
function terminal(): { readonly input: PassThrough; readonly modes: boolean[] } {
  const modes: boolean[] = [];
  const input = Object.assign(new PassThrough(), { setRawMode: (raw: boolean) => modes.push(raw) });
  return { input, modes };
}

test.each(["q", "\u0003"])(
  "on a terminal it redraws in place until %j, and gives the screen back",
  async (key) => {
    await using state = await temporaryState();
    await using _daemon = await startFakeDaemon(state.path, busy());
    const { input, modes } = terminal();
    const { status, stdout } = await cli(["--state-dir", state.path, "workspace", "top"], {
      ...{ tty: true, stdin: input },
      during: async (_, shown) => {
        while (!shown().includes("50.0")) await sleep(10);
        input.write("x");
        input.write(key);
      },
    });
    expect(status).toBe(0);
    expect(stdout.startsWith("\u001b[?1049h\u001b[?25l\u001b[H")).toBe(true);
    expect(stdout.endsWith("\u001b[?25h\u001b[?1049l")).toBe(true);
    expect(stdout).toContain("fix-1 (ws-0123)      started  -      200 MB");
    expect(stdout).toContain("fix-1 (ws-0123)      started  50.0   200 MB");
    expect(stdout).not.toContain("make\u001b");
    expect(modes).toEqual([true, false]);
  },
);

test("a signal ends it with the status that the signal asks for", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path, busy());
  const { status, stdout } = await cli(["--state-dir", state.path, "workspace", "top"], {
    tty: true,
    during: async (send, shown) => {
      while (!shown().includes("fix-1")) await sleep(10);
      send("SIGTERM");
    },
  });
  expect([status, stdout.endsWith("\u001b[?1049l")]).toEqual([143, true]);
});

test("a failure is told on the screen that the user had", async () => {
  await using state = await temporaryState();
  const look = () => Promise.reject(new Error("it broke"));
  await using _daemon = await startFakeDaemon(state.path, { top: { look } });
  const { status, stdout, stderr } = await cli(["--state-dir", state.path, "workspace", "top"], {
    tty: true,
  });
  expect([status, stdout.endsWith("\u001b[?1049l")]).toEqual([1, true]);
  expect(stderr).toContain("INTERNAL");
});

test("figures of another daemon, or of another machine, give no rate", () => {
  const usage = {
    ...{
      workspaceId: "ws-1",
      name: null,
      environment: "debian:12",
      state: "started" as const,
      hindrance: null,
    },
    ...{
      vcpuCount: 1,
      memMib: 512,
      pid: 7,
      cpuUs: 1000,
      memoryBytes: 0,
      diskBytes: 0,
      runningCommandCount: 0,
    },
    ...{ lastCommand: null, lastActivityAt: "" },
  };
  const at = (atUs: number, changes: Partial<WorkspacesUsage>, pid = 7): WorkspacesUsage => ({
    ...{ atUs, daemonId: "one", cpuCount: 1, workspaces: [{ ...usage, pid, cpuUs: atUs }] },
    ...changes,
  });
  const percent = (before: WorkspacesUsage | undefined, now: WorkspacesUsage): unknown =>
    toTopView(before, now).workspaces[0]?.cpu_percent;
  expect(percent(at(1000, {}), at(3000, {}))).toBe(100);
  expect(percent(undefined, at(3000, {}))).toBe(null);
  expect(percent(at(1000, { daemonId: "two" }), at(3000, {}))).toBe(null);
  expect(percent(at(1000, {}, 8), at(3000, {}))).toBe(null);
  expect(percent(at(1000, { workspaces: [] }), at(3000, {}))).toBe(null);
});

test("a screen keeps to its size: lines are cut with a mark, and what is missing below is counted", () => {
  const plain = (text: string): string[] =>
    text
      .replaceAll(/\u001b\[[HKJ]/g, "")
      .split("\r\n")
      .slice(0, -1);
  const lines = ["abcdefghij", "漢字漢字漢字", "short", "four", "five"];
  expect(plain(screenOf(lines, { columns: 80, rows: 24 }))).toEqual(lines);
  expect(plain(screenOf(lines, { columns: 9, rows: 5 }))).toEqual([
    "abcdefg…",
    "漢字漢…",
    "short",
    "… and 2…",
  ]);
  expect(plain(screenOf(lines, { columns: 1, rows: 1 }))).toEqual(["…"]);
});
