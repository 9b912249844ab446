/** `pyro run` whose client is killed at each moment of its life: its machine goes with it, and its call. */
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { violations } from "./invariants.js";
import {
  eventually,
  machinesOf,
  pyro,
  start,
  testState,
  type RunOptions,
  type TestState,
} from "./support.js";

let state: TestState;
beforeAll(async () => {
  state = await testState();
});
// The daemon has nothing to do any more, and leaves nothing.
afterEach(async () => {
  await eventually("no machine", async () => (await machinesOf(state.path)).length === 0);
  const stopped = await pyro(["daemon", "stop"], { stateDir: state.path });
  expect(stopped, stopped.stderr).toMatchObject({ code: 0 });
  expect(await violations(state.path)).toEqual([]);
});
afterAll(() => state[Symbol.asyncDispose]());

type Client = ReturnType<typeof start>;

const run = (script: string, options: RunOptions = {}): Client =>
  start(["run", "debian:12", "--", "sh", "-c", script], { stateDir: state.path, ...options });

const machineIsMade = (): Promise<void> =>
  eventually("its machine is made", async () => (await machinesOf(state.path)).length > 0);

/** Resolves once so many bytes of standard output came; then no more of it is read. */
const hasRead = (child: Client, bytes: number): Promise<void> =>
  new Promise((resolve) => {
    const count = (chunk: Buffer): void => {
      bytes -= chunk.length;
      if (bytes > 0) return;
      child.stdout?.off("data", count).pause();
      resolve();
    };
    child.stdout?.on("data", count);
  });

/** The buffers on its command's way are full: the machine has used less than a sixth of a processor for a while. */
async function machineIsStill(): Promise<void> {
  const [pid = 0] = await machinesOf(state.path);
  // In 1/100 s: utime and stime (proc(5)).
  const used = async (): Promise<number> => {
    const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).replace(/^.*\) /, "").split(" ");
    return Number(fields[11]) + Number(fields[12]);
  };
  await eventually("the machine is still", async () => {
    const before = await used();
    await sleep(300);
    return (await used()) - before < 5;
  });
}

const FLOOD = "cat /dev/zero";

it.each<[moment: string, script: string, reached: (child: Client) => Promise<void>, options?: RunOptions]>([
  ["its machine is made", "sleep 100", machineIsMade],
  ["its command runs", "echo begun; exec sleep 100", (child) => hasRead(child, 1)],
  ["its command writes what it reads", FLOOD, (child) => hasRead(child, 20_000_000)],
  [
    "its command waits, since it reads no more",
    FLOOD,
    async (child) => {
      await hasRead(child, 1_000_000);
      child.kill("SIGSTOP");
      await machineIsStill();
    },
  ],
  [
    "it waits, since its command reads no more",
    "echo begun; exec sleep 100",
    async (child) => {
      await hasRead(child, 1);
      await machineIsStill();
    },
    { input: Buffer.alloc(50_000_000) },
  ],
])("is killed while %s", async (_, script, reached, options) => {
  const child = run(script, options);
  await reached(child);
  expect(await machinesOf(state.path)).toHaveLength(1);
  child.kill("SIGKILL");
  child.stdout?.resume();
  expect(await child.done).toMatchObject({ code: null, signal: "SIGKILL" });
});

it("is killed while it waits for its turn to boot, with others that go on", async () => {
  const others = Array.from({ length: 3 }, () => run("sleep 2; echo whole"));
  const waiting = Array.from({ length: 6 }, () => run("sleep 100"));
  await machineIsMade();
  for (const child of waiting) child.kill("SIGKILL");
  const results = await Promise.all(others.map(({ done }) => done));
  expect(results.map(({ code, stdout }) => [code, stdout.toString()])).toEqual(
    results.map(() => [0, "whole\n"]),
  );
});
