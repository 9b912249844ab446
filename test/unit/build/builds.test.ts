import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  EnvironmentBuilds,
  readRecipe,
  recipeOf,
  type BuildEvents,
  type BuildRequest,
  type Recipe,
} from "../../../src/build/index.js";
import { EnvironmentStore, layoutOf, loadCatalogue, type InstalledImage } from "../../../src/image/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { NO_NETWORK } from "../../../src/workspace/index.js";
import { fakeHost, type FakeHost } from "../image/fake-host.js";
import { fakeStepMachines, type FakeStepMachines } from "./fake-machines.js";

let host: FakeHost;
let machines: FakeStepMachines;
let store: EnvironmentStore;
let base: InstalledImage;
let context: string;
const held = new Set<string>();

beforeEach(async () => {
  host = await fakeHost();
  machines = fakeStepMachines();
  store = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
  await mkdir(host.cache, { recursive: true });
  base = await baseOf("a");
  context = join(host.directory, "context");
  await mkdir(context);
  await writeFile(join(context, "file"), "content");
});
afterEach(() => host[Symbol.asyncDispose]());

async function baseOf(digit: string): Promise<InstalledImage> {
  const digest = `sha256:${digit.repeat(64)}`;
  const path = join(host.cache, "images", `sha256-${digit.repeat(64)}.qcow2`);
  await mkdir(join(host.cache, "images"), { recursive: true });
  await writeFile(path, `base ${digit}`);
  const unused = { sharedBytes: 0, lastUsedAtMs: undefined };
  return { digest, path, sizeBytes: 6, virtualBytes: 1, createdAtMs: 0, packages: [], recipe: "", ...unused };
}

function newBuilds(): EnvironmentBuilds {
  return new EnvironmentBuilds({
    ...{ store, host: host.programs, machines, requireBase: () => Promise.resolve(base) },
    hold: (digest) => {
      held.add(digest);
      return { [Symbol.dispose]: () => held.delete(digest) };
    },
    inUse: () => Promise.resolve(held),
  });
}

interface Given {
  readonly name?: string;
  readonly run?: string[];
  readonly copy?: string[];
  readonly env?: string[];
  readonly noCache?: boolean;
  /** Instead of `run`, `copy` and `env`. */
  readonly recipe?: Recipe;
  readonly signal?: AbortSignal;
  readonly events?: Partial<BuildEvents>;
}

async function build(given: Given = {}, builds = newBuilds()) {
  const { name = "mine:1", run = ["one", "two"], copy = [], env = [], noCache = false } = given;
  const request: BuildRequest = {
    ...{ name, noCache, context, args: new Map(), network: NO_NETWORK, vcpuCount: 1, memMib: 512 },
    ...{ stepTimeoutMs: 0, noPull: true },
    recipe: given.recipe ?? recipeOf({ from: "base", run, copy, env }),
  };
  const steps: string[] = [];
  const events: BuildEvents = {
    onStep: ({ number }, state) => void steps.push(`${number} ${state}`),
    onOutput: () => Promise.resolve(),
    onProgress: () => undefined,
    ...given.events,
  };
  machines.done.length = 0;
  const result = await builds.build(request, events, given.signal ?? new AbortController().signal);
  return { ...result, steps, done: [...machines.done] };
}

const layers = async () => (await readdir(join(host.cache, "builds/layers")).catch(() => [])).sort();

async function expectNothingLeft(): Promise<void> {
  expect(machines.openMachines.size).toBe(0);
  expect([...held]).toEqual([]);
  expect(await readdir(join(host.cache, "builds/work"))).toEqual([]);
  const files = await layers();
  expect(files.filter((name) => name.endsWith(".qcow2"))).toHaveLength(
    files.filter((name) => name.endsWith(".json")).length,
  );
}

describe("A build", () => {
  it("does each step in a machine over the last one's layer, and makes an environment of all", async () => {
    const { environment, steps, done, reused } = await build({ env: ["A=1"] });
    expect(reused).toBe(false);
    expect(steps).toEqual(["1 running", "2 running"]);
    expect(done.filter((line) => line.startsWith("run"))).toEqual([
      "run one as root in / with A=1 network off",
      "run two as root in / with A=1 network off",
    ]);
    expect(environment).toMatchObject({ name: "mine:1", source: "build", state: "installed" });
    expect(environment.image?.config).toEqual({
      env: ["A=1"],
      user: "",
      workingDir: "",
      entrypoint: [],
      cmd: [],
    });
    await expectNothingLeft();
  });

  it("of the same inputs is there at once, and under another name without any step", async () => {
    await build();
    expect(await build()).toMatchObject({ reused: true, cachedCount: 2, done: [] });
    expect(await build({ name: "other" })).toMatchObject({ reused: false, cachedCount: 2, done: [] });
  });

  it("does anew what an input changed, and all after it", async () => {
    const given = { copy: ["file:/there"], run: ["one"] };
    const expectSteps = async (change: Given, ...expected: string[]) =>
      expect((await build({ ...given, ...change })).steps).toEqual(expected);
    await expectSteps({}, "1 running", "2 running");
    await expectSteps({ run: ["two"] }, "1 cached", "2 running");
    await expectSteps({ env: ["A=1"] }, "1 cached", "2 running");
    await writeFile(join(context, "file"), "other");
    await expectSteps({}, "1 running", "2 running");
    await writeFile(join(context, "file"), "content");
    await expectSteps({}, "1 cached", "2 cached");
    await expectSteps({ noCache: true }, "1 running", "2 running");
    await expectSteps({}, "1 cached", "2 cached");
    base = await baseOf("b");
    await expectSteps({}, "1 running", "2 running");
  });

  it("runs each command as its user, whose change is a change of the step", async () => {
    const as = async (user: string) => {
      const text = JSON.stringify({ from: "base", step: [{ run: "one" }, { user }, { run: "two" }] });
      const { done, steps } = await build({ recipe: await readRecipe({ name: "recipe.json", text }) });
      return [steps, done.filter((line) => line.startsWith("run")).map((line) => line.replace(/ in .*/, ""))];
    };
    expect(await as("ann:staff")).toEqual([
      ["1 running", "2 running"],
      ["run one as root", "run two as ann:staff"],
    ]);
    expect(await as("ben")).toEqual([["1 cached", "2 running"], ["run two as ben"]]);
    expect(await as("ann:staff")).toEqual([["1 cached", "2 cached"], []]);
  });

  it("names the step whose user is not there, or which needs a shell, and says what to write", async () => {
    machines.onRun = (line) => {
      const code = line === "one" ? "GUEST_USER_NOT_FOUND" : "NO_SHELL_IN_ENVIRONMENT";
      return Promise.reject(new PyroError(code, "it is not there", { hint: "of a command" }));
    };
    for (const [run, code, hint] of [
      ["one", "GUEST_USER_NOT_FOUND", /by its number/],
      ["two", "NO_SHELL_IN_ENVIRONMENT", /RUN \["\/app", "word"\]/],
    ] as const) {
      await expect(build({ run: [run] })).rejects.toMatchObject({
        code,
        message: `step 1 of 1 (--run 1) RUN ${run}: it is not there`,
        hint: expect.stringMatching(hint) as string,
        details: { step: 1, place: "--run 1" },
      });
    }
    await expectNothingLeft();
  });

  it("puts a file into a directory that is there, or gives it the name", async () => {
    const extracts = (lines: string[]) => lines.filter((line) => line.startsWith("extract"));
    expect(extracts((await build({ copy: ["file:/there"] })).done)).toEqual(["extract file into /there"]);
    expect(extracts((await build({ copy: ["file:/there/as"] })).done)).toEqual(["extract as into /there"]);
    expect(extracts((await build({ copy: ["file:/new/"] })).done)).toEqual(["extract file into /new/"]);
    expect(extracts((await build({ copy: [".:/all"] })).done)).toEqual(["extract file into /all"]);
  });

  it("that fails names the step, keeps what is whole, and goes on from there", async () => {
    machines.onRun = (line) => Promise.resolve(line === "two" ? 7 : 0);
    await expect(build()).rejects.toMatchObject({
      code: "ENVIRONMENT_BUILD_FAILED",
      message: "step 2 of 2 (--run 2) RUN two failed: exit 7\noutput of two",
      details: { step: 2, place: "--run 2", exit_code: 7, output_tail: "output of two" },
    });
    await expectNothingLeft();
    expect(await store.manifest("mine:1")).toBeUndefined();
    machines.onRun = () => Promise.resolve(0);
    expect((await build()).steps).toEqual(["1 cached", "2 running"]);
  });

  it("whose machine is lost says how, with the step", async () => {
    machines.onRun = async (_line, _signal, lose) => {
      lose(new PyroError("VM_CRASHED", "the machine ended by itself"));
      return await new Promise<never>(() => undefined);
    };
    await expect(build()).rejects.toMatchObject({ code: "VM_CRASHED", details: { step: 1 } });
    await expectNothingLeft();
  });

  it("ends with its caller, and with the daemon", async () => {
    const waiting = (): { then: Promise<void>; run: () => Promise<number> } => {
      let begun: () => void;
      const then = new Promise<void>((resolve) => (begun = resolve));
      return { then, run: () => (begun(), new Promise(() => undefined)) };
    };
    const [first, second] = [waiting(), waiting()];
    machines.onRun = first.run;
    const controller = new AbortController();
    const left = build({ signal: controller.signal });
    await first.then;
    controller.abort(new PyroError("CANCELLED", "left"));
    await expect(left).rejects.toMatchObject({ code: "CANCELLED", message: "left" });
    await expectNothingLeft();

    machines.onRun = second.run;
    const builds = newBuilds();
    const ended = build({}, builds);
    ended.catch(() => undefined);
    await second.then;
    await builds.close();
    await expect(ended).rejects.toMatchObject({ code: "CANCELLED" });
    await expectNothingLeft();
  });

  it("is the only one of its name, in this process and in others", async () => {
    const builds = newBuilds();
    let go: () => void = () => undefined;
    const held = new Promise<number>((resolve) => (go = () => resolve(0)));
    let begun: () => void = () => undefined;
    const started = new Promise<void>((resolve) => (begun = resolve));
    machines.onRun = () => (begun(), held);
    const first = build({ run: ["one"] }, builds);
    await started;
    await expect(build({}, builds)).rejects.toMatchObject({ code: "ENVIRONMENT_BUSY" });
    // Another daemon over the same cache.
    await expect(build({}, newBuilds())).rejects.toMatchObject({ code: "ENVIRONMENT_BUSY" });
    expect(await newBuilds().prune(true)).toEqual({ removed: [], freedBytes: 0 });
    go();
    await first;
    await expectNothingLeft();
  });

  it("does not use what is not whole, nor what lies on something else", async () => {
    await build();
    const [file = ""] = (await layers()).filter((name) => name.endsWith(".qcow2"));
    await rm(join(host.cache, "builds/layers", file));
    await store.removeManifest("mine:1");
    const { steps } = await build();
    expect(steps).toContain("2 running");
    // The layer that is made again has another name, so that nothing lies on it by mistake.
    expect(await layers()).not.toContain(file);
  });

  it.each(["debian:12", "Mine", "../x", ""])("cannot be called %j", async (name) => {
    await expect(build({ name })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("Pruning", () => {
  it("keeps the layers of whole builds; all of them go when that is asked for", async () => {
    const builds = newBuilds();
    await build({ run: ["one", "two"] });
    await build({ name: "gone", run: ["one", "three"] });
    await store.removeManifest("gone");
    const { removed } = await builds.prune(false);
    expect(removed).toHaveLength(1);
    expect(await layers()).toHaveLength(4);
    expect(await build({ name: "again" })).toMatchObject({ cachedCount: 2 });
    expect((await builds.prune(true)).removed).toHaveLength(2);
    expect(await layers()).toEqual([]);
  });

  it("and a start of the daemon remove what a killed build left", async () => {
    await build();
    const before = await layers();
    await mkdir(join(host.cache, "builds/work/killed"), { recursive: true });
    await writeFile(join(host.cache, "builds/work/killed/step.qcow2"), "half");
    await writeFile(
      join(host.cache, "builds/layers", `${"0".repeat(64)}-${"1".repeat(12)}.qcow2`),
      "no record",
    );
    await writeFile(join(host.cache, "builds/layers/x.json.123456789abc.tmp"), "");
    await newBuilds().sweepStale();
    expect(await layers()).toEqual(before);
    expect(await readdir(join(host.cache, "builds/work"))).toEqual([]);
  });
});
