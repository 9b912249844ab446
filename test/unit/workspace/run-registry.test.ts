import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { sleep } from "../../../src/kit/index.js";
import { LIMITS, PyroError } from "../../../src/protocol/index.js";
import { NO_NETWORK, RunRegistry, type OneShotSpec } from "../../../src/workspace/index.js";
import { FakeSandboxes, type Script } from "../../fakes/fake-sandbox.js";

const SPEC: OneShotSpec = {
  environment: "debian:12",
  argv: [Buffer.from("true")],
  command: "",
  env: [],
  vcpuCount: 1,
  memMib: 512,
  noPull: false,
  timeoutMs: undefined,
  ttlMs: undefined,
  network: NO_NETWORK,
};

const hello: Script = async function* () {
  yield { stream: "stdout", data: Buffer.from("hello ") };
  yield { stream: "stderr", data: Buffer.from("world") };
  await Promise.resolve();
  return { exitCode: 3 };
};

const forever: Script = async function* (command) {
  yield { stream: "stdout", data: Buffer.from("started") };
  while (!command.inputEnded) await sleep(5);
  return {};
};

describe("RunRegistry", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "runs-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const open = async (sandboxes: FakeSandboxes): Promise<RunRegistry> => {
    const registry = new RunRegistry(directory, sandboxes);
    await registry.recover();
    return registry;
  };
  const read = (registry: RunRegistry, id: string, waitMs = 5_000) =>
    registry.read(id, { offset: 0, maxBytes: 1000, waitMs, signal: new AbortController().signal });

  it("answers start at once, and read with the result, the streams apart and together", async () => {
    const sandboxes = new FakeSandboxes(hello);
    await using registry = await open(sandboxes);
    const { runId, state } = await registry.start(SPEC);
    expect(state.state).toBe("starting");
    const view = await read(registry, runId);
    expect(view.state).toMatchObject({ state: "done", result: { exitCode: 3, isolation: "software" } });
    expect(Buffer.from(view.output?.window.head ?? []).toString()).toBe("hello world");
    expect(Buffer.from(view.output?.stdout.data ?? []).toString()).toBe("hello ");
    expect(Buffer.from(view.output?.stderr.data ?? []).toString()).toBe("world");
    expect(sandboxes.openNow).toBe(0);
    expect(registry.activeCount).toBe(0);
  });

  it("answers a read of a running command after its wait, with what there is", async () => {
    await using registry = await open(new FakeSandboxes(forever));
    const { runId } = await registry.start(SPEC);
    await vi.waitFor(async () => expect((await read(registry, runId, 0)).output?.totalBytes).toBe(7));
    const view = await read(registry, runId, 10);
    expect(view.state.state).toBe("running");
    expect(registry.activeCount).toBe(1);
  });

  it("ends the machine of a cancelled run", async () => {
    const sandboxes = new FakeSandboxes(forever);
    await using registry = await open(sandboxes);
    const { runId } = await registry.start(SPEC);
    await vi.waitFor(() => expect(sandboxes.openNow).toBe(1));
    const view = await registry.cancel(runId);
    expect(view.state).toMatchObject({ state: "failed", error: { code: "CANCELLED" } });
    expect(sandboxes.openNow).toBe(0);
    // Also a second time, and without waking what is over.
    expect((await registry.cancel(runId)).state.state).toBe("failed");
  });

  it("reports a machine that was lost, and what could not start", async () => {
    const sandboxes = new FakeSandboxes(forever);
    await using registry = await open(sandboxes);
    const lost = await registry.start(SPEC);
    await vi.waitFor(() => expect(sandboxes.commands).toHaveLength(1));
    sandboxes.lose(new PyroError("VM_CRASHED", "gone"));
    expect((await read(registry, lost.runId)).state).toMatchObject({ error: { code: "VM_CRASHED" } });
    sandboxes.beforeOpen = () => Promise.reject(new PyroError("QEMU_NOT_FOUND", "none", { hint: "install" }));
    const never = await registry.start(SPEC);
    expect((await read(registry, never.runId)).state).toMatchObject({
      error: { code: "QEMU_NOT_FOUND", hint: "install" },
    });
    expect(sandboxes.openNow).toBe(0);
  });

  it("names the remedy when a run is not known", async () => {
    await using registry = await open(new FakeSandboxes(hello));
    await expect(read(registry, "run-nothing")).rejects.toMatchObject({ code: "RUN_NOT_FOUND" });
  });

  it("keeps a finished run over the daemon's death, output included, and removes an unfinished one", async () => {
    let runId: string;
    {
      await using registry = await open(new FakeSandboxes(hello));
      ({ runId } = await registry.start(SPEC));
      await read(registry, runId);
    }
    await mkdir(join(directory, "run-torn"));
    await writeFile(join(directory, "run-torn/record.json"), '{"format":1,');
    await mkdir(join(directory, "run-unfinished"));
    await using next = await open(new FakeSandboxes(hello));
    const view = await read(next, runId);
    expect(view.state).toMatchObject({ state: "done", result: { exitCode: 3 } });
    expect(Buffer.from(view.output?.window.head ?? []).toString()).toBe("hello world");
    expect(Buffer.from(view.output?.stderr.data ?? []).toString()).toBe("world");
    expect(await readdir(directory)).toEqual([runId]);
  });

  it("restores the kept ends of a stream longer than its bound", async () => {
    const total = 200_000;
    const long: Script = async function* () {
      for (let at = 0; at < total; at += 1000) {
        yield { stream: "stdout", data: Buffer.from(String(at / 1000).padStart(1000, ".")) };
      }
      await Promise.resolve();
      return {};
    };
    const views = [];
    let runId = "";
    for (const round of [0, 1]) {
      await using registry = await open(new FakeSandboxes(long));
      if (round === 0) ({ runId } = await registry.start(SPEC));
      await registry.read(runId, {
        offset: 0,
        maxBytes: 0,
        waitMs: 5_000,
        signal: new AbortController().signal,
      });
      views.push(
        (
          await registry.read(runId, {
            offset: 0,
            maxBytes: 3001,
            waitMs: 0,
            signal: new AbortController().signal,
          })
        ).output,
      );
    }
    expect(views[1]).toEqual(views[0]);
    expect(views[1]?.stdout).toMatchObject({ truncated: true, totalBytes: total });
  });

  it("forgets a run after its retention, also when the clock jumped", async () => {
    let runId = "";
    {
      await using registry = await open(new FakeSandboxes(hello));
      ({ runId } = await registry.start(SPEC));
      await read(registry, runId);
    }
    const path = join(directory, runId, "record.json");
    const saved = JSON.parse(await readFile(path, "utf8")) as { finishedAtMs: number };
    saved.finishedAtMs -= LIMITS.runRetentionMs + 1;
    await writeFile(path, JSON.stringify(saved));
    await using registry = await open(new FakeSandboxes(hello));
    await expect(read(registry, runId)).rejects.toMatchObject({ code: "RUN_NOT_FOUND" });
    expect(await readdir(directory)).toEqual([]);
  });
});
