/** `pyro demo ollama`: what a model calls runs in a machine, and whatever ends the demo leaves none. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { calling, fakeModel, repeating } from "../fakes/fake-model.js";
import { violations } from "./invariants.js";
import { aRunHasWritten, unfinishedRuns } from "./started-runs.js";
import { eventually, json, machinesOf, pyro, start, testState, type TestState } from "./support.js";

let state: TestState;
beforeAll(async () => {
  state = await testState();
});
afterAll(() => state[Symbol.asyncDispose]());

const demo = (url: string, ...args: string[]): ReturnType<typeof start> =>
  start(["demo", "ollama", ...args, "--base-url", url], { stateDir: state.path });
const machines = (): Promise<number[]> => machinesOf(state.path);
const commandRuns = (): Promise<boolean> => aRunHasWritten(state.path);
const noMachine = (): Promise<void> =>
  eventually(
    "no machine",
    async () => (await machines()).length === 0 && (await entries("vms")).length === 0,
  );

async function entries(directory: string): Promise<string[]> {
  return await readdir(join(state.path, directory)).catch(() => []);
}

async function daemonStatus(): Promise<Record<string, unknown>> {
  return json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }));
}

/** A daemon that is not busy leaves, and nothing of it stays. */
async function expectNothingLeft(): Promise<void> {
  expect((await pyro(["daemon", "stop"], { stateDir: state.path })).code).toBe(0);
  expect(await unfinishedRuns(state.path)).toEqual([]);
  expect(await violations(state.path)).toEqual([]);
}

it("is answered by the model with what its call printed", async () => {
  await using model = await fakeModel([
    calling("vm_run", { command: "uname -r && git --version" }),
    repeating,
  ]);
  const ended = await demo(model.url, "--json").done;
  expect({ code: ended.code, stderr: ended.code === 0 ? "" : ended.stderr }).toEqual({ code: 0, stderr: "" });
  expect(json(ended)).toMatchObject({
    ...{ rounds: 2, calls: [{ tool: "vm_run", is_error: false, exit_code: 0 }], answer_names_kernel: true },
    answer: expect.stringMatching(/cloud-amd64\s+git version 2\./) as string,
  });
  expect(await machines()).toEqual([]);
  await expectNothingLeft();
});

describe.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)("ended by %s", (signal, status) => {
  const MOMENTS: readonly (readonly [string, () => Promise<boolean>])[] = [
    ["its machine is made", async () => (await machines()).length === 1],
    ["the command runs", commandRuns],
  ];

  it.each(MOMENTS)("while %s, it takes that along", async (_, reached) => {
    await using model = await fakeModel([calling("vm_run", { command: "echo begun; sleep 100" })]);
    const child = demo(model.url);
    await eventually("it is in the middle", reached);
    child.kill(signal);
    expect((await child.done).code).toBe(status);
    await noMachine();
    await expectNothingLeft();
  });
});

describe("killed in the middle of a call", () => {
  const calls = (timeout_seconds: number): object =>
    calling("vm_run", { command: "echo begun; sleep 100", timeout_seconds });

  it("leaves its run to the daemon, which ends it at its own time", async () => {
    await using model = await fakeModel([calls(8)]);
    const child = demo(model.url);
    await eventually("the command runs", commandRuns);
    child.kill("SIGKILL");
    await child.done;
    // Nobody has its id: but a server that is killed leaves its runs to the next one in the same way.
    expect(await machines()).toHaveLength(1);
    expect(await daemonStatus()).toMatchObject({ running: true });
    await noMachine();
    await expectNothingLeft();
  });

  it("and its daemon too, leaves nothing once there is another", async () => {
    await using model = await fakeModel([calls(120)]);
    const child = demo(model.url);
    await eventually("the command runs", commandRuns);
    child.kill("SIGKILL");
    await child.done;
    const { running, pid } = await daemonStatus();
    expect(running).toBe(true);
    process.kill(Number(pid), "SIGKILL");
    expect(await machines()).toHaveLength(1);
    expect((await pyro(["env", "list"], { stateDir: state.path })).code).toBe(0);
    await noMachine();
    await expectNothingLeft();
  });
});
