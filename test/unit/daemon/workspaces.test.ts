import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { realDrivers, type Drivers } from "../../../src/daemon/compose.js";
import { runDaemon } from "../../../src/daemon/index.js";
import { Pyro } from "../../../src/index.js";
import { directoriesFor, exists } from "../../../src/kit/index.js";
import { AgentRecord, fakeAgent } from "../../fakes/fake-agent.js";
import { installFakeEnvironment } from "../../fakes/fake-environment.js";
import { FakeGuest } from "../../fakes/fake-guest.js";
import { FakeVmmDriver } from "../../fakes/fake-vmm.js";
import { temporaryState } from "../../fakes/state-directory.js";

// The whole daemon: real layers by qemu-img, machines that are sleeping children, a fake agent behind the real link.
describe("workspaces of the daemon", () => {
  let state: Awaited<ReturnType<typeof temporaryState>>;
  let guest: FakeGuest;
  let vmm: FakeVmmDriver;
  let record: AgentRecord;
  let pyro: Pyro;
  let running: Promise<void>;

  const serve = async (): Promise<void> => {
    const drivers: Drivers = {
      ...realDrivers(directoriesFor(state.path)),
      driver: vmm,
      bundle: () =>
        Promise.resolve({ version: "test", digest: "test", holderPath: "pyro-hold", emptyDiskPath: "none" }),
      qemuVersion: () => Promise.resolve("7.2.0"),
    };
    const configPath = join(state.path, "config.toml");
    running = runDaemon({
      stateDir: state.path,
      version: "0.0.0-test",
      buildId: "",
      drivers,
      poolSize: 0,
      configPath,
    });
    running.catch(() => undefined);
    await vi.waitFor(async () => expect(await readdir(state.path)).toContain("daemon.sock"), 5_000);
  };
  /** A daemon that is told to leave by a signal lets go of workspaces: they run on. */
  const leave = async (): Promise<void> => {
    process.emit("SIGTERM", "SIGTERM");
    await running;
  };
  const restart = async (): Promise<void> => {
    await leave();
    await serve();
  };
  const machineIds = (): Promise<string[]> => readdir(join(state.path, "vms"));
  const layers = (id: string): Promise<boolean[]> =>
    Promise.all(
      ["baseline", "active"].map((name) => exists(join(state.path, "workspaces", id, `${name}.qcow2`))),
    );

  beforeEach(async () => {
    state = await temporaryState();
    record = new AgentRecord();
    guest = await FakeGuest.start(fakeAgent(record, () => void vmm.sweep(vmm.started.at(-1)?.id ?? "")));
    vmm = new FakeVmmDriver({ guest: (socket) => guest.serve(socket), memorySnapshots: false });
    await installFakeEnvironment(join(state.path, "cache"));
    pyro = new Pyro({ stateDir: state.path });
    await serve();
  });
  afterEach(async () => {
    for (const { workspaceId } of await pyro.listWorkspaces()) await pyro.deleteWorkspace(workspaceId);
    await pyro.stopDaemon({ force: true }).catch(() => undefined);
    await running;
    await pyro[Symbol.asyncDispose]();
    await guest[Symbol.asyncDispose]();
    const left = await machineIds();
    await state[Symbol.asyncDispose]();
    expect(left).toEqual([]);
  });

  const create = () => pyro.createWorkspace({ environment: "debian:12" });

  it("seals the baseline under held writes, and runs commands", async () => {
    const { workspaceId, state: now } = await create();
    expect(now).toBe("started");
    expect(record.calls.filter((call) => call !== "clock")).toEqual([
      "personalize pyro-",
      "mount /dev/vda",
      "hold writes",
      "let writes go",
    ]);
    expect(vmm.sealed).toHaveLength(1);
    expect(await layers(workspaceId)).toEqual([true, true]);
    const echo = await pyro.execWorkspace({ workspaceId, argv: ["echo", "hello"] });
    expect(Buffer.from(echo.output?.stdout.data ?? []).toString()).toBe("hello\n");
    expect(await pyro.daemonStatus()).toMatchObject({ runningVms: 1 });
  });

  it("makes none of a guest that went on writing", async () => {
    record.holdsWrites = false;
    const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12", waitMs: 0 });
    const failed = await pyro.statusWorkspace(workspaceId, { waitMs: 30_000 });
    expect(failed).toMatchObject({ state: "failed", failure: { code: "VM_UNRESPONSIVE" } });
    expect(await layers(workspaceId)).toEqual([false, false]);
    await pyro.deleteWorkspace(workspaceId);
    await expect(create()).rejects.toMatchObject({ code: "VM_UNRESPONSIVE" });
    expect(await pyro.listWorkspaces()).toEqual([]);
  });

  it("is stopped by a shutdown, and starts over its own layers", async () => {
    const { workspaceId } = await create();
    const stopping = pyro.stopWorkspace(workspaceId);
    await vi.waitFor(() => expect(record.calls).toContain("shutdown"));
    await vmm.sweep(vmm.started.at(-1)?.id ?? "");
    expect(await stopping).toMatchObject({ state: "stopped" });
    expect(await machineIds()).toEqual([]);
    await pyro.startWorkspace(workspaceId);
    const [root, baseline] = vmm.started.at(-1)?.disks ?? [];
    expect([root, baseline]).toMatchObject([
      { format: "qcow2", readOnly: false },
      { format: "qcow2", readOnly: true },
    ]);
    await pyro.resetWorkspace(workspaceId);
    expect(await layers(workspaceId)).toEqual([true, true]);
  });

  it("is handed from daemon to daemon with its machine and its commands", async () => {
    const { workspaceId } = await create();
    await pyro.execWorkspace({ workspaceId, argv: ["sleep"], waitMs: 50 });
    const ids = await machineIds();
    await restart();
    const adopted = await pyro.statusWorkspace(workspaceId, { waitMs: 10_000 });
    expect(adopted).toMatchObject({ state: "started", runningCommandCount: 1 });
    expect(await machineIds()).toEqual(ids);
    expect(await pyro.cancelWorkspaceCommand(workspaceId, 1)).toMatchObject({
      state: "done",
      result: { signal: "SIGKILL" },
    });
  });

  it("whose machine ended while no daemon ran is stopped, and what is left of the machine goes", async () => {
    const { workspaceId } = await create();
    const [id = ""] = await machineIds();
    await leave();
    await vmm.sweep(id);
    await rm(join(state.path, "vms", id, "agent.sock"), { force: true });
    await serve();
    const record_ = await pyro.statusWorkspace(workspaceId, { waitMs: 10_000 });
    expect(record_).toMatchObject({ state: "stopped", stoppedBy: "crash", failure: { code: "VM_CRASHED" } });
    expect(await machineIds()).toEqual([]);
  });
});
