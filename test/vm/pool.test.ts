import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { eventually, json, machinesOf, pyro, testState, type TestState } from "./support.js";

let state: TestState;
beforeEach(async () => {
  state = await testState({ templates: false });
});
afterEach(() => state[Symbol.asyncDispose]());

const env = { PYRO_POOL: "2" };

async function run(command: string): Promise<{ stdout: string; startup_ms: number }> {
  const result = await pyro(["run", "debian:12", "--json", "--", "sh", "-c", command], {
    ...{ stateDir: state.path, env },
  });
  expect(result).toMatchObject({ code: 0 });
  return json(result) as { stdout: string; startup_ms: number };
}

/** Waits until so many machines wait ready, and gives their processes. */
async function waiting(count: number): Promise<number[]> {
  await eventually(`${count} machines wait ready`, async () => {
    const status = json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }));
    return status["pooled_vms"] === count && (await machinesOf(state.path)).length === count;
  });
  return await machinesOf(state.path);
}

const IDENTITY = `head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '
cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id /etc/machine-id /etc/hostname; date +%s%3N`;

describe("A machine that waited ready", () => {
  it("is used once, starts many times faster, and is nobody's double", async () => {
    const first = await run(IDENTITY);
    const identities: string[][] = [];
    const startups: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      await waiting(round === 0 ? 1 : 2);
      const before = Date.now();
      const { stdout, startup_ms } = await run(IDENTITY);
      const values = stdout.trim().split("\n");
      const now = Number(values.pop());
      // Its clock stood while it waited.
      expect(now).toBeGreaterThan(before - 50);
      expect(now).toBeLessThan(Date.now() + 50);
      identities.push(values);
      startups.push(startup_ms);
    }
    console.log(`start of a machine: ${first.startup_ms} ms the first time, then ${startups.join(", ")} ms`);
    expect(Math.min(...startups) * 4).toBeLessThan(first.startup_ms);
    const all = [first.stdout.trim().split("\n").slice(0, -1), ...identities];
    for (let index = 0; index < 5; index += 1) {
      expect(new Set(all.map((values) => values[index])).size).toBe(all.length);
    }
  });

  it("finds nothing of the command before it", async () => {
    await run("touch /root/mark /tmp/mark /workspace/mark");
    await waiting(1);
    await run("touch /root/mark /tmp/mark /workspace/mark");
    await waiting(2);
    expect(
      (await run("ls -A /root/mark /tmp/mark /workspace/mark 2>/dev/null; ls -A /workspace")).stdout,
    ).toBe("");
  });

  it.each(["SIGKILL", "SIGSTOP"] as const)("and got %s is not used, and does not stay", async (signal) => {
    await run("true");
    const [pid = 0] = await waiting(1);
    process.kill(pid, signal);
    expect((await run("echo fine")).stdout).toBe("fine\n");
    await eventually("it is gone", async () => !(await machinesOf(state.path)).includes(pid));
  });

  it("keeps no environment from being pruned", async () => {
    await run("true");
    await waiting(1);
    const pruned = await pyro(["env", "prune", "--all", "--json"], { stateDir: state.path });
    expect(json(pruned)["removed"]).not.toEqual([]);
    expect(await machinesOf(state.path)).toEqual([]);
  });

  it("is not there when the user wants none, and a wrong wish is named", async () => {
    const wrong = await pyro(["run", "debian:12", "--", "true"], {
      ...{ stateDir: state.path, env: { PYRO_POOL: "lots" } },
    });
    expect([wrong.code, wrong.stderr]).toEqual([125, expect.stringContaining('PYRO_POOL is "lots"')]);
    await pyro(["run", "debian:12", "--", "true"], { stateDir: state.path, env: { PYRO_POOL: "0" } });
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await machinesOf(state.path)).toEqual([]);
  });
});
