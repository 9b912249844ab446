import { chmod, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { realDrivers } from "../../../src/daemon/compose.js";
import { runDaemon } from "../../../src/daemon/index.js";
import { Pyro } from "../../../src/index.js";
import { directoriesFor } from "../../../src/kit/index.js";
import { ProcessService, SystemService } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { AgentRecord, fakeAgent } from "../../fakes/fake-agent.js";
import { installFakeEnvironment } from "../../fakes/fake-environment.js";
import { FakeGuest } from "../../fakes/fake-guest.js";
import { FakeVmmDriver, type FakeVmmOptions } from "../../fakes/fake-vmm.js";
import { temporaryState } from "../../fakes/state-directory.js";

const HOLDER = fileURLToPath(new URL("../../fakes/fake-holder.mjs", import.meta.url));

/** The fake holder reads all of it, so the fake's default machine is a small one. */
vi.mock(import("../../../src/protocol/limits.js"), async (original) => {
  const { LIMITS } = await original();
  return {
    LIMITS: { ...LIMITS, memMibMin: 1 } as never,
    DEFAULT_MACHINE: { vcpuCount: 1, memMib: 1 } as never,
  };
});

// The whole daemon in this process, on machines that can be saved.
describe("prepare", () => {
  let state: Awaited<ReturnType<typeof temporaryState>>;
  let guest: FakeGuest;
  let vmm: FakeVmmDriver;
  let pyro: Pyro;
  let running: Promise<void>;

  async function serve({ pool = 0, ...options }: FakeVmmOptions & { pool?: number } = {}): Promise<void> {
    vmm = new FakeVmmDriver({ guest: (socket) => guest.serve(socket), ...options });
    const drivers = {
      ...realDrivers(directoriesFor(state.path)),
      driver: vmm,
      bundle: () =>
        Promise.resolve({ version: "test", digest: "test", holderPath: HOLDER, emptyDiskPath: "none" }),
      qemuVersion: () => Promise.resolve("7.2.0"),
    };
    running = runDaemon({
      stateDir: state.path,
      version: "0.0.0-test",
      buildId: "",
      drivers,
      poolSize: pool,
    });
    await vi.waitFor(async () => expect(await readdir(state.path)).toContain("daemon.sock"), 5_000);
  }

  beforeEach(async () => {
    state = await temporaryState();
    const agent = fakeAgent(new AgentRecord());
    guest = await FakeGuest.start({
      routes: (router, session) => {
        agent.routes?.(router, session);
        router.service(SystemService, { setFrozen: () => ({}) });
        router.service(ProcessService, { list: () => ({}) });
      },
    });
    await installFakeEnvironment(join(state.path, "cache"));
    pyro = new Pyro({ stateDir: state.path });
  });
  afterEach(async () => {
    await pyro.stopDaemon({ force: true }).catch(() => undefined);
    await running;
    await pyro[Symbol.asyncDispose]();
    await guest[Symbol.asyncDispose]();
    const left = await readdir(join(state.path, "vms"));
    await state[Symbol.asyncDispose]();
    expect(left).toEqual([]);
  });

  const what = (steps: readonly { name: string; what: string }[]): string[] =>
    steps.map((step) => `${step.name} ${step.what}`);
  const restoredRun = async (): Promise<void> => {
    await pyro.runInVm({ environment: "debian:12", argv: ["echo", "x"] });
    expect(vmm.restored).toContain(vmm.started.at(-1)?.id);
  };

  it("makes the template of the default machine, once; the next machine starts from it", async () => {
    await serve();
    const phases: string[] = [];
    const first = await pyro.prepare({ onProgress: ({ phase }) => phases.push(phase) });
    expect([first.environment, first.reused, what(first.steps), phases]).toEqual([
      "debian:12",
      false,
      ["environment reused", "template made"],
      ["template"],
    ]);
    const second = await pyro.prepare();
    expect([second.reused, what(second.steps)]).toEqual([true, ["environment reused", "template reused"]]);
    // One booted, and one went on from it to have the environment mounted.
    await restoredRun();
    expect(vmm.started).toHaveLength(3);
    expect(await readdir(join(state.path, "cache/templates"))).toHaveLength(3);
  });

  it("leaves a machine that waits ready for who comes next", async () => {
    await serve({ pool: 2 });
    await pyro.prepare();
    await vi.waitFor(async () => expect(await pyro.daemonStatus()).toMatchObject({ pooledVms: 1 }), 5_000);
  });

  it("makes it anew for somebody who insists", async () => {
    await serve();
    await pyro.prepare();
    expect(await pyro.prepare({ force: true })).toMatchObject({ reused: false });
    expect(await pyro.prepare()).toMatchObject({ reused: true });
    await restoredRun();
    expect(vmm.started).toHaveLength(5);
  });

  it("fails with the reason where no template can be made, each time it is asked", async () => {
    await serve({ failing: "save" });
    await expect(pyro.prepare()).rejects.toMatchObject({
      code: "VM_SAVE_FAILED",
      message: "the fake does not save",
    });
    await expect(pyro.prepare()).rejects.toMatchObject({ code: "VM_SAVE_FAILED" });
    expect(vmm.started).toHaveLength(2);
  });

  it("fails where others can write to the templates, and works once they cannot", async () => {
    await serve();
    const templates = join(state.path, "cache/templates");
    await mkdir(templates, { recursive: true });
    await chmod(templates, 0o777);
    await expect(pyro.prepare()).rejects.toMatchObject({
      code: "TEMPLATE_NOT_PRIVATE",
      hint: expect.stringContaining(templates) as string,
    });
    await chmod(templates, 0o700);
    expect(await pyro.prepare()).toMatchObject({ reused: false });
  });

  it("ends with the caller who left, and what it began is gone", async () => {
    await serve({ atStart: "hang", hangMs: 60_000 });
    const abort = new AbortController();
    const preparing = pyro.prepare({}, { signal: abort.signal });
    await vi.waitFor(() => expect(vmm.started).toHaveLength(1));
    abort.abort();
    await expect(preparing).rejects.toMatchObject({ code: "CANCELLED" });
    await vi.waitFor(async () => expect(await readdir(join(state.path, "vms"))).toEqual([]));
    await vi.waitFor(async () =>
      expect(await readdir(join(state.path, "cache/templates"))).toEqual(["lock"]),
    );
  });
});
