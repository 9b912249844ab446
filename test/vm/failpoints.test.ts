import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { FAILPOINTS, prefixOf } from "../failpoints.js";
import { violations } from "./invariants.js";
import {
  daemonWithFailpoint,
  eventually,
  json,
  machinesOf,
  pyro,
  testState,
  type FaultyDaemon,
  type Result,
  type TestState,
} from "./support.js";

let state: TestState;
beforeAll(async () => {
  state = await testState();
  // A good template stands from now on.
  await expectNextRunWorks();
  await expectNothingLeft();
});
// Whatever one of them left, the next starts from nothing.
afterEach(async () => {
  for (const { workspace_id: id } of await workspaces()) await call("workspace", "delete", id);
  await call("daemon", "stop", "--force");
});
afterAll(() => state[Symbol.asyncDispose]());

const call = (...args: string[]): Promise<Result> => pyro(args, { stateDir: state.path });
const run = (): Promise<Result> => call("run", "debian:12", "--", "true");
/** Builds and saves another template in place of the good one. */
const prepare = (): Promise<Result> => call("prepare", "--force");

interface Scenario {
  readonly pool: number;
  /** Exit code of a call that could not be done. */
  readonly failed: 1 | 125;
  /** Calls that pass through the failpoint, until the daemon has met it. Gives how the last one ended. */
  readonly pass: (daemon: FaultyDaemon) => Promise<Result>;
}

/** By the prefix of a failpoint's name: which calls pass through it. `pull` is tested with a host of its own. */
const SCENARIOS: Readonly<Record<string, Scenario>> = {
  machine: { pool: 0, failed: 125, pass: run },
  restore: { pool: 0, failed: 125, pass: run },
  template: { pool: 0, failed: 1, pass: prepare },
  save: { pool: 0, failed: 1, pass: prepare },
  pool: { pool: 2, failed: 125, pass: useThePool },
  workspace: { pool: 0, failed: 1, pass: useAWorkspace },
  snapshot: { pool: 0, failed: 1, pass: useSnapshots },
  layer: { pool: 0, failed: 1, pass: useSnapshots },
  suspend: { pool: 0, failed: 1, pass: useItsMemory },
  resume: { pool: 0, failed: 1, pass: useItsMemory },
  memory: { pool: 0, failed: 1, pass: useAMemorySnapshot },
  fork: { pool: 0, failed: 1, pass: useItsMemory },
};

/** Once through a workspace's life; ends with the first call that could not be done. */
async function useAWorkspace(): Promise<Result> {
  const output = join(state.path, "exported");
  await rm(output, { recursive: true, force: true });
  return await through([
    ["file", "write", "w", "dir/file", "--text", "text"],
    ["export", "w", "dir", "--output", output],
    ["stop", "w"],
    ["start", "w"],
    ["reset", "w"],
  ]);
}

/** A workspace whose disk gets layers, running and stopped. */
async function useSnapshots(): Promise<Result> {
  return await through([
    ["file", "write", "w", "file", "--text", "text"],
    ["snapshot", "create", "w", "one"],
  ]);
}

/** The same with what is in the machine. */
async function useAMemorySnapshot(): Promise<Result> {
  return await through([
    ["snapshot", "create", "w", "one", "--memory"],
    ["reset", "w", "--snapshot", "one"],
  ]);
}

/** The same with what concerns its memory. */
async function useItsMemory(): Promise<Result> {
  return await through([
    ["stop", "w", "--suspend"],
    ["start", "w"],
    ["fork", "w"],
  ]);
}

/** A workspace and these calls, one after the other, to the first that could not be done, or the delete. */
async function through(calls: readonly string[][]): Promise<Result> {
  for (const args of [["create", "debian:12", "--name", "w"], ...calls, ["delete", "w"]]) {
    const result = await call("workspace", ...args);
    if (result.code !== 0 || args[0] === "delete") return result;
  }
  throw new Error("the last call is a delete");
}

async function workspaces(): Promise<{ workspace_id: string }[]> {
  const listed = json(await call("workspace", "list", "--json"));
  return listed["workspaces"] as { workspace_id: string }[];
}

/** Every workspace is usable, or says why not (threats.md I4); then it is deleted. */
async function expectUsableWorkspaces(): Promise<void> {
  for (const { workspace_id: id } of await workspaces()) {
    const status = json(await call("workspace", "status", id, "--wait-seconds", "20", "--json"));
    // What its user stopped, or suspended, waits for its user.
    if (status["stopped_by"] === "user") expect((await call("workspace", "start", id)).code).toBe(0);
    const { code } = await call("workspace", "exec", id, "--", "true");
    expect([status["state"], code, status["failure"]]).toEqual(
      code === 0
        ? [expect.any(String), 0, status["failure"]]
        : ["failed", 125, expect.objectContaining({ message: expect.stringMatching(/./) as string })],
    );
    expect((await call("workspace", "delete", id)).code).toBe(0);
  }
}

/** Machines are made in the background after a run, and taken by the next. */
async function useThePool(daemon: FaultyDaemon): Promise<Result> {
  for (let round = 0; ; round += 1) {
    const result = await run();
    if (round === 3 || daemon.met()) return result;
    await eventually("a machine waits, or the daemon met its end", async () => {
      if (daemon.met()) return true;
      const status = json(await call("daemon", "status", "--json"));
      return Number(status["pooled_vms"]) > 0;
    });
    if (daemon.met()) return result;
  }
}

async function expectNextRunWorks(): Promise<void> {
  const { code, stdout, stderr } = await call("run", "debian:12", "--", "echo", "again");
  expect({ code, stdout: stdout.toString(), stderr: code === 0 ? "" : stderr }).toEqual({
    ...{ code: 0, stdout: "again\n", stderr: "" },
  });
}

async function expectNothingLeft(): Promise<void> {
  await call("daemon", "stop");
  let found: string[] = [];
  const clean = async (): Promise<boolean> => (found = await violations(state.path)).length === 0;
  await eventually("nothing is left", clean, 5_000).catch(() => expect(found).toEqual([]));
}

/** Kills the daemon at the step. Gives how many machines it left running. */
async function killDaemonAt(failpoint: string, { pool, failed, pass }: Scenario): Promise<number> {
  const daemon = await daemonWithFailpoint(state.path, failpoint, { pool });
  const { code, stderr } = await pass(daemon);
  // The client may hear of it before this process does.
  expect(await daemon.gone).toBe("SIGKILL");
  const left = (await machinesOf(state.path)).length;
  // A step in the background costs nobody a call.
  if (code !== 0) expect([code, stderr]).toEqual([failed, expect.stringContaining("DAEMON_UNREACHABLE")]);
  await expectNextRunWorks();
  await expectUsableWorkspaces();
  await expectNothingLeft();
  return left;
}

/** Kills the machines while the daemon stands still at the step, then lets it go on. */
async function killMachinesAt(failpoint: string, { pool, failed, pass }: Scenario): Promise<void> {
  const daemon = await daemonWithFailpoint(state.path, `${failpoint}=SIGSTOP`, { pool });
  const killed = daemon.stopped().then(async () => {
    const machines = await machinesOf(state.path);
    for (const pid of machines) process.kill(pid, "SIGKILL");
    process.kill(daemon.pid, "SIGCONT");
  });
  const { code, stderr } = await pass(daemon);
  await killed;
  // What was lost with the machine is named; what could be done without it was done.
  if (code !== 0) expect([code, stderr]).toEqual([failed, expect.stringMatching(/^VM_[A-Z_]+: /m)]);
  await expectNextRunWorks();
  const status = json(await call("daemon", "status", "--json"));
  expect(status["pid"]).toBe(daemon.pid);
  expect(await readFile(`${state.path}/daemon.log`, "utf8")).not.toContain('"event":"defect"');
  await expectUsableWorkspaces();
  await expectNothingLeft();
}

describe("After a kill -9 the next call works and nothing is left over:", () => {
  it.each(FAILPOINTS.filter((name) => prefixOf(name) !== "pull"))("%s", async (failpoint) => {
    const scenario = SCENARIOS[prefixOf(failpoint)];
    if (scenario === undefined) throw new Error(`no scenario reaches ${failpoint}: add one for its prefix`);
    const machines = await killDaemonAt(failpoint, scenario);
    if (machines > 0) await killMachinesAt(failpoint, scenario);
  });
});
