/**
 * What may go wrong while the machine of a pull boots, or waits for a layer that still comes: it starts before the last one is
 * here. A registry that gives half of that layer and then nothing holds each of these pulls there.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../src/protocol/index.js";
import { daemonWithFailpoint, eventually, json, machinesOf, pyro, type Result } from "./support.js";
import { ToolPulls, toolRegistry, type Blob, type ToolRegistry } from "./tool-pulls.js";

let image: ToolRegistry;
let pulls: ToolPulls;
/** The layer that is held back. */
let last: Blob;

beforeAll(async () => {
  image = await toolRegistry();
  last = image.layers.at(-1) as Blob;
});
afterAll(() => image[Symbol.asyncDispose]());
beforeEach(async () => {
  pulls = await ToolPulls.open(image);
  hold();
});
afterEach(() => pulls[Symbol.asyncDispose]());

/** What the registry does instead of giving the second half of the last layer. */
function hold(instead: () => void = () => undefined): void {
  pulls.proxy.arrived = async (handed) => {
    const { path, from, bytes } = handed;
    const isHeld = path.endsWith(last.digest) && from + bytes >= last.size / 2;
    if (isHeld) instead();
    return isHeld ? -Infinity : await pulls.read(handed);
  };
}

function letGoOn(): void {
  pulls.proxy.arrived = undefined;
}

const errorOf = (result: Result): string => (json(result)["error"] as { code: string }).code;
const machines = (): Promise<number[]> => machinesOf(pulls.state.path);
const daemonPid = async (): Promise<unknown> =>
  json(await pyro(["daemon", "status", "--json"], { stateDir: pulls.state.path }))["pid"];

/** A pull that has all but half of the last layer, and whose machine runs. */
async function waiting(): Promise<ReturnType<ToolPulls["start"]>> {
  const child = pulls.start();
  await eventually("all but half of the last layer is here", async () => {
    const whole = await pulls.whole();
    const others = image.layers.filter((layer) => layer !== last);
    const isHalf = (await pulls.partBytes(last)) >= last.size / 2;
    return isHalf && others.every(({ digest }) => whole.includes(digest));
  });
  await eventually("the machine runs", async () => (await machines()).length === 1);
  return child;
}

/** Neither machine nor tars nor disk; what was fetched is kept, of the last layer so much at least. */
async function expectOnlyWhatWasFetched(leastBytes = 1): Promise<void> {
  await eventually("the machine is gone", async () => (await machines()).length === 0);
  await eventually("its directory is gone", async () => {
    return (await readdir(join(pulls.state.path, "vms"))).length === 0;
  });
  await eventually("what was half done is gone", async () => {
    const left = await readdir(join(pulls.state.path, "cache/pulls"), { recursive: true });
    return left.every((name) => !/\.(raw|qcow2)$/.test(name));
  });
  const part = await pulls.partBytes(last);
  expect(part).toBeGreaterThanOrEqual(leastBytes);
  expect(part).toBeLessThan(last.size);
}

/** The next pull has the rest: it fetches of no layer more than a chunk twice, and the configuration once in all, or so often. */
async function expectTheRest(configMost = 1): Promise<void> {
  letGoOn();
  const twice = await pulls.goOn({ reused: false });
  expect(Math.max(...twice)).toBeLessThanOrEqual(LIMITS.registryProgressBytes);
  expect(Math.min(...twice)).toBeGreaterThanOrEqual(0);
  const { size } = image.config;
  expect(pulls.fetched(image.config)).toBeGreaterThanOrEqual(size);
  expect(pulls.fetched(image.config)).toBeLessThanOrEqual(configMost * size);
}

describe("while the machine of a pull boots or waits for the last layer,", () => {
  const ON_ITS_WAY = ["machine.recorded", "machine.disks", "machine.started", "machine.booted"];

  it.each(ON_ITS_WAY)("a daemon that is killed at %s leaves what the next removes", async (point) => {
    const daemon = await daemonWithFailpoint(pulls.state.path, point);
    const lost = pulls.pull();
    expect(await daemon.gone).toBe("SIGKILL");
    expect((await lost).code).not.toBe(0);
    expect(await pulls.whole()).not.toContain(last.digest);
    expect(await machines()).toHaveLength(/started|booted/.test(point) ? 1 : 0);
    expect((await pyro(["env", "list"], { stateDir: pulls.state.path })).code).toBe(0);
    // It is started before the registry is asked: nothing may have come yet, or the configuration be half written.
    const isEarly = point !== "machine.booted";
    await expectOnlyWhatWasFetched(isEarly ? 0 : 1);
    await expectTheRest(isEarly ? 2 : 1);
  });

  it("a daemon that is killed while it waits leaves what the next removes", async () => {
    const daemon = await daemonWithFailpoint(pulls.state.path, "none");
    const child = await waiting();
    process.kill(daemon.pid, "SIGKILL");
    expect(await daemon.gone).toBe("SIGKILL");
    expect((await child.done).code).not.toBe(0);
    expect(await machines()).toHaveLength(1);
    expect((await pyro(["env", "list"], { stateDir: pulls.state.path })).code).toBe(0);
    await expectOnlyWhatWasFetched();
    await expectTheRest();
  });

  it.each([
    ["machine.started", "SIGKILL", "VM_CRASHED"],
    ["machine.booted", "SIGKILL", "VM_CRASHED"],
    ["machine.booted", "SIGSTOP", "VM_UNRESPONSIVE"],
  ] as const)("a machine that at %s gets %s ends the pull by its name", async (point, signal, code) => {
    const daemon = await daemonWithFailpoint(pulls.state.path, `${point}=SIGSTOP`);
    const failed = pulls.pull();
    await daemon.stopped();
    const [machine] = await machines();
    process.kill(machine as number, signal);
    process.kill(daemon.pid, "SIGCONT");
    const result = await failed;
    expect([result.code, errorOf(result)]).toEqual([1, code]);
    // It is started before the registry is asked: nothing may have come yet.
    await expectOnlyWhatWasFetched(point === "machine.started" ? 0 : 1);
    expect(await daemonPid()).toBe(daemon.pid);
    await expectTheRest();
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGKILL", null],
  ] as const)("a client that ends by %s, since nothing comes, ends the pull", async (signal, status) => {
    const child = await waiting();
    const daemon = await daemonPid();
    child.kill(signal);
    expect((await child.done).code).toBe(status);
    await expectOnlyWhatWasFetched();
    expect(await daemonPid()).toBe(daemon);
    await expectTheRest();
  });

  it("a registry that breaks off again and again is given up, and the machine with it", async () => {
    const child = await waiting();
    hold(() => {
      throw new Error("broken off");
    });
    const result = await child.done;
    expect([result.code, errorOf(result)]).toEqual([1, "REGISTRY_UNREACHABLE"]);
    const tries = pulls.proxy.blobs.filter(({ path }) => path.endsWith(last.digest));
    expect(tries).toHaveLength(LIMITS.registryAttempts);
    await expectOnlyWhatWasFetched();
    await expectTheRest();
  });

  it("a registry that hangs once is asked for the rest, and the machine that waited is used", async () => {
    const child = await waiting();
    const [machine] = await machines();
    const answers = (): number => pulls.proxy.blobs.filter(({ path }) => path.endsWith(last.digest)).length;
    await eventually("it is asked again", () => Promise.resolve(answers() > 1), 2 * LIMITS.registryIdleMs);
    expect(await machines()).toEqual([machine]);
    letGoOn();
    expect(await child.done).toMatchObject({ code: 0 });
    expect(await pulls.goOn({ reused: true })).toEqual(image.layers.map(() => 0));
  });

  it("its environment can be neither deleted nor pruned, and a second pull waits for the same", async () => {
    const child = await waiting();
    const options = { stateDir: pulls.state.path };
    const deleted = await pyro(["env", "delete", pulls.reference, "--json"], options);
    expect([deleted.code, errorOf(deleted)]).toEqual([1, "ENVIRONMENT_BUSY"]);
    expect((await pyro(["env", "prune", "--all"], options)).code).toBe(0);
    const second = pulls.start();
    // It is told how far the pull is.
    await new Promise((resolve) => second.stderr?.once("data", resolve));
    // The first goes: there is still somebody who waits.
    child.kill("SIGINT");
    expect((await child.done).code).toBe(130);
    expect(await machines()).toHaveLength(1);
    letGoOn();
    expect(await second.done).toMatchObject({ code: 0 });
    expect(await pulls.goOn({ reused: true })).toEqual(image.layers.map(() => 0));
    expect(pulls.proxy.blobs).toHaveLength(1 + image.layers.length);
  });
});
