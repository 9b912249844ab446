import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  daemonWithFailpoint,
  eventually,
  json,
  leftovers,
  machinesOf,
  pyro,
  start,
  testState,
  type TestState,
} from "./support.js";

describe("a daemon that dies", () => {
  let state: TestState;
  beforeEach(async () => {
    state = await testState({ templates: false });
  });
  afterEach(() => state[Symbol.asyncDispose]());

  /** The next call works, and of the dead daemon's machines and files nothing is left. */
  const expectRecovery = async () => {
    const { code, stdout, stderr } = await pyro(["run", "debian:12", "--", "echo", "again"], {
      stateDir: state.path,
    });
    expect({ code, stdout: stdout.toString(), stderr: code === 0 ? "" : stderr }).toEqual({
      code: 0,
      stdout: "again\n",
      stderr: "",
    });
    await pyro(["daemon", "stop", "--force"], { stateDir: state.path });
    await eventually("nothing is left", async () => (await leftovers(state.path)).length === 0);
  };

  it("during a command is replaced by the next call", async () => {
    const child = start(["run", "debian:12", "--", "sh", "-c", "echo ready; exec sleep 100"], {
      stateDir: state.path,
    });
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    const status = json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }));
    process.kill(Number(status["pid"]), "SIGKILL");
    expect((await child.done).code).toBe(125);
    expect(await machinesOf(state.path)).toHaveLength(1);
    await expectRecovery();
  });

  it(
    "during a pull is replaced by the next pull, which goes on from there",
    { timeout: 600_000 },
    async () => {
      const { gone } = await daemonWithFailpoint(state.path, "pull.assembled");
      const first = await pyro(["env", "pull", "debian:12-base"], { stateDir: state.path });
      expect(await gone).toBe("SIGKILL");
      expect(first.code).not.toBe(0);
      const second = await pyro(["env", "pull", "debian:12-base"], { stateDir: state.path });
      expect(second.code).toBe(0);
      const { code, stdout } = await pyro(["run", "debian:12-base", "--", "echo", "made"], {
        stateDir: state.path,
      });
      expect({ code, stdout: stdout.toString() }).toEqual({ code: 0, stdout: "made\n" });
    },
  );
});

describe("a machine that dies", () => {
  let state: TestState;
  beforeEach(async () => {
    state = await testState({ templates: false });
  });
  afterEach(() => state[Symbol.asyncDispose]());

  it.each([
    ["is killed", "SIGKILL", "VM_CRASHED"],
    ["is stopped", "SIGSTOP", "VM_UNRESPONSIVE"],
  ] as const)("ends its command with a named error when it %s", async (_, signal, code) => {
    const child = start(["run", "debian:12", "--", "sh", "-c", "echo ready; exec sleep 100"], {
      stateDir: state.path,
    });
    // Before that there is a machine too: the one that the template is made of.
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    const [pid] = await machinesOf(state.path);
    process.kill(pid ?? 0, signal);
    const result = await child.done;
    expect([result.code, result.stderr]).toEqual([125, expect.stringMatching(new RegExp(`^${code}: `, "m"))]);
    expect(await machinesOf(state.path)).toEqual([]);
    expect(await readdir(join(state.path, "vms"))).toEqual([]);
  });
});
