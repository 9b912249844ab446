import { chmod, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { realDrivers, type Drivers } from "../../../src/daemon/compose.js";
import { runDaemon } from "../../../src/daemon/index.js";
import { Pyro } from "../../../src/index.js";
import { directoriesFor, sleep } from "../../../src/kit/index.js";
import { AgentRecord, fakeAgent } from "../../fakes/fake-agent.js";
import { installFakeEnvironment } from "../../fakes/fake-environment.js";
import { FakeGuest } from "../../fakes/fake-guest.js";
import { FakeVmmDriver } from "../../fakes/fake-vmm.js";
import { temporaryState } from "../../fakes/state-directory.js";

// The whole daemon in this process, through the SDK and its real socket; machines are sleeping children, and their
// agent is a fake behind the real link.
describe("the daemon", () => {
  let state: Awaited<ReturnType<typeof temporaryState>>;
  let guest: FakeGuest;
  let vmm: FakeVmmDriver;
  let record: AgentRecord;
  let pyro: Pyro;
  let image: string;
  let running: Promise<void>;
  let poolSize = 0;
  let idleMs: number | undefined;

  const drivers = (): Drivers => ({
    ...realDrivers(directoriesFor(state.path)),
    driver: vmm,
    bundle: () =>
      Promise.resolve({ version: "test", digest: "test", holderPath: "pyro-hold", emptyDiskPath: "none" }),
    qemuVersion: () => Promise.resolve("7.2.0"),
  });
  const serve = async (): Promise<void> => {
    running = runDaemon({
      stateDir: state.path,
      version: "0.0.0-test",
      buildId: "",
      drivers: drivers(),
      poolSize,
      ...(idleMs === undefined ? {} : { idleMs }),
      // Whoever runs the tests may have one of his own.
      configPath: join(state.path, "config.toml"),
    });
    running.catch(() => undefined);
    await vi.waitFor(async () => expect(await readdir(state.path)).toContain("daemon.sock"), 5_000);
  };

  beforeEach(async () => {
    state = await temporaryState();
    record = new AgentRecord();
    guest = await FakeGuest.start(fakeAgent(record, () => void vmm.sweep(vmm.started.at(-1)?.id ?? "")));
    vmm = new FakeVmmDriver({
      guest: (socket) => guest.serve(socket),
      consoleTail: "last words",
      memorySnapshots: false,
    });
    image = await installFakeEnvironment(join(state.path, "cache"));
    pyro = new Pyro({ stateDir: state.path });
    await serve();
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

  it("runs a command in a machine of its own: identity given, root mounted, nothing left", async () => {
    const result = await pyro.runInVm({
      environment: "debian:12",
      argv: ["echo", "hello", "there"],
      memMib: 512,
    });
    expect(result).toMatchObject({ exitCode: 0, stdout: "hello there\n", isolation: "software" });
    // The clock once more only where the mount took long.
    expect(record.calls.filter((call) => call !== "clock")).toEqual(["personalize pyro-", "mount /dev/vda"]);
    expect(vmm.started[0]).toMatchObject({
      memMib: 512,
      disks: [{ format: "qcow2", backing: { path: image } }, { format: "empty" }],
    });
  });

  it("keeps machines ready for what was used, wakes them with an identity of their own, and ends them all", async () => {
    await pyro.stopDaemon();
    await running;
    poolSize = 2;
    await serve();
    poolSize = 0;
    const echo = { environment: "debian:12", argv: ["echo", "hello"] };
    await pyro.runInVm(echo);
    await vi.waitFor(async () => expect(await pyro.daemonStatus()).toMatchObject({ pooledVms: 1 }), 5_000);
    expect(vmm.started).toHaveLength(2);
    await vi.waitFor(() => expect(vmm.paused).toEqual([vmm.started[1]?.id]));
    record.calls.length = 0;
    expect(await pyro.runInVm(echo)).toMatchObject({ stdout: "hello\n" });
    expect(record.calls).toEqual(["personalize pyro-"]);
    expect(await pyro.daemonStatus()).toMatchObject({ runningVms: 0 });
    // What only waits keeps neither an environment nor a daemon.
    await pyro.pruneEnvironments({ all: true });
    expect(await pyro.stopDaemon()).toMatchObject({ wasRunning: true });
  });

  it("stays for machines that wait ready, and leaves once none does", async () => {
    await pyro.stopDaemon();
    await running;
    [poolSize, idleMs] = [1, 1_000];
    await serve();
    [poolSize, idleMs] = [0, undefined];
    const over = vi.fn();
    void running.then(over);
    await pyro.runInVm({ environment: "debian:12", argv: ["true"] });
    await vi.waitFor(() => expect(vmm.paused).toHaveLength(1), 5_000);
    await sleep(2_500);
    expect(over).not.toHaveBeenCalled();
    await vmm.sweep(vmm.paused[0] ?? "");
    await running;
  });

  it("passes input and exit codes", async () => {
    const cat = await pyro.runInVm({ environment: "debian:12", argv: ["cat"], stdin: "some input" });
    expect(cat.stdout).toBe("some input");
    const fail = await pyro.runInVm({ environment: "debian:12", argv: ["fail"] });
    expect(fail.exitCode).toBe(3);
  });

  it("ends the machine of a caller that leaves", async () => {
    const abort = new AbortController();
    const run = pyro.runInVm({ environment: "debian:12", argv: ["sleep"] }, { signal: abort.signal });
    await vi.waitFor(() => expect(record.calls).toContain("mount /dev/vda"));
    abort.abort();
    await expect(run).rejects.toMatchObject({ code: "CANCELLED" });
    await vi.waitFor(async () => expect(await readdir(join(state.path, "vms"))).toEqual([]));
  });

  it("reports a machine that dies under a command, with its last words", async () => {
    const run = pyro.runInVm({ environment: "debian:12", argv: ["crash"] });
    await expect(run).rejects.toMatchObject({
      code: "VM_CRASHED",
      retryable: true,
      details: { console_tail: expect.stringContaining("last words") as string },
    });
  });

  it("keeps a started run, and cancels one", async () => {
    const { runId } = await pyro.startRun({ environment: "debian:12", argv: ["echo", "kept"] });
    const view = await pyro.readRun({ runId, waitMs: 10_000, maxBytes: 100 });
    expect(view).toMatchObject({ state: "done", result: { exitCode: 0 } });
    const sleeping = await pyro.startRun({ environment: "debian:12", command: "sleep" });
    const cancelled = await pyro.cancelRun(sleeping.runId);
    expect(cancelled.state).toBe("failed");
  });

  it("names what is wrong with a request, in the same words everywhere", async () => {
    const run = (options: object) => pyro.runInVm({ environment: "debian:12", argv: ["true"], ...options });
    await expect(run({ environment: "Nothing:1" })).rejects.toMatchObject({ code: "UNKNOWN_ENVIRONMENT" });
    await expect(run({ environment: "debian:12-base", noPull: true })).rejects.toMatchObject({
      code: "ENVIRONMENT_NOT_PULLED",
      hint: expect.stringContaining("pyro env pull debian:12-base") as string,
    });
    await expect(pyro.readRun({ runId: "run-none" })).rejects.toMatchObject({ code: "RUN_NOT_FOUND" });
  });

  it("without a command starts no machine, and makes no environment, that has none of its own", async () => {
    // The second one is not on this host: a pull would be refused otherwise.
    for (const environment of ["debian:12", "debian:12-base"]) {
      await expect(pyro.runInVm({ environment })).rejects.toMatchObject({
        code: "COMMAND_REQUIRED",
        hint: expect.stringContaining(`pyro run ${environment} -- `) as string,
      });
    }
    expect(vmm.started).toEqual([]);
  });

  it("says to the agent whose /workspace is, and whom a command runs as, where the image says", async () => {
    const path = join(state.path, "cache/environments/debian_12.json");
    const config = {
      env: ["MODE=image"],
      user: "app",
      working_dir: "/srv",
      entrypoint: [],
      cmd: ["echo", "own"],
    };
    const manifest = JSON.parse(await readFile(path, "utf8")) as object;
    await writeFile(path, JSON.stringify({ ...manifest, config }));
    const { stdout } = await pyro.runInVm({ environment: "debian:12" });
    expect(stdout).toBe("own\n");
    expect(record.calls).toContain("mount /dev/vda for app");
    expect(record.calls).toContain("start as app in /srv");
  });

  it("refuses an image that was damaged, and says how to repair it", async () => {
    await chmod(image, 0o600);
    await writeFile(image, "no image any more");
    await expect(pyro.runInVm({ environment: "debian:12", argv: ["true"] })).rejects.toMatchObject({
      code: "ENVIRONMENT_DAMAGED",
      hint: expect.stringContaining("pyro env pull debian:12") as string,
    });
    const listed = await pyro.inspectEnvironment("debian:12");
    expect(listed).toMatchObject({ installed: false, template: "stale" });
  });

  it("lists, inspects and prunes environments", async () => {
    const { environments } = await pyro.listEnvironments();
    expect(environments.map(({ name, installed }) => [name, installed])).toEqual(
      expect.arrayContaining([
        ["debian:12", true],
        ["debian:12-base", false],
      ]),
    );
    expect(await pyro.pruneEnvironments()).toMatchObject({ removed: [] });
    await expect(pyro.pullEnvironment("Nothing:1")).rejects.toMatchObject({ code: "UNKNOWN_ENVIRONMENT" });
  });

  it("makes environments of files by absolute paths, and tells what it cannot read", async () => {
    const pull = (name: string, options: object) => pyro.pullEnvironment(name, options);
    for (const options of [{ fromPath: "image.tar" }, { fromImage: "one" }]) {
      await expect(pull("tools:1", options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    for (const fromPath of ["/dev/null", "/nonexistent/image.tar"]) {
      await expect(pull("tools:1", { fromPath })).rejects.toMatchObject({ code: "IMAGE_ARCHIVE_INVALID" });
    }
    await expect(pull("debian:12", { fromPath: "/nonexistent" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("prepares no template where no machine can be saved, and says so", async () => {
    await expect(pyro.prepare()).rejects.toMatchObject({ code: "VM_SAVE_FAILED" });
    await expect(pyro.prepare({ environment: "Nothing:1" })).rejects.toMatchObject({
      code: "UNKNOWN_ENVIRONMENT",
    });
    expect(vmm.started.map(({ memoryFile }) => memoryFile)).toEqual([]);
  });

  it("examines the host by a probe machine", async () => {
    const report = await pyro.doctor();
    expect(report.accelerators).toEqual(
      expect.arrayContaining([expect.objectContaining({ name: "software", usable: true, chosen: true })]),
    );
  });

  it("goes by its configuration: starts no machine without KVM where that is required, and the doctor says so", async () => {
    await pyro.stopDaemon();
    await running;
    const path = join(state.path, "config.toml");
    await writeFile(path, 'require_isolation = "kvm"\n');
    await serve();
    await expect(pyro.runInVm({ environment: "debian:12", argv: ["true"] })).rejects.toMatchObject({
      code: "ISOLATION_NOT_AVAILABLE",
    });
    await expect(pyro.prepare()).rejects.toMatchObject({ code: "ISOLATION_NOT_AVAILABLE" });
    expect(vmm.started.filter(({ memMib }) => memMib === 1024)).toEqual([]);
    // What a running daemon read, it keeps.
    await writeFile(path, "");
    const report = await pyro.doctor();
    const checks = Object.fromEntries(report.checks.map(({ name, ...check }) => [name, check]));
    expect(checks).toMatchObject({
      configuration: { ok: true, message: expect.stringContaining("it was changed since") as string },
      isolation: { ok: false },
    });
    await writeFile(path, "pool = true\n");
    expect((await pyro.doctor()).checks).toContainEqual(
      expect.objectContaining({ name: "configuration", ok: false }),
    );
  });

  it("does not start with a configuration that is wrong", async () => {
    await pyro.stopDaemon();
    await running;
    await writeFile(join(state.path, "config.toml"), "pool = -1\ncolour = 1\n");
    await expect(serve()).rejects.toThrow();
    await expect(running).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: expect.stringContaining("has 2 problems: line 1: pool is -1") as string,
    });
    running = Promise.resolve();
  });

  it("refuses a second daemon on the same state", async () => {
    await expect(
      runDaemon({ stateDir: state.path, version: "0", buildId: "", drivers: drivers() }),
    ).rejects.toMatchObject({ code: "DAEMON_ALREADY_RUNNING" });
  });

  it("does not stop under a running command unless forced", async () => {
    const run = pyro.runInVm({ environment: "debian:12", argv: ["sleep"] });
    run.catch(() => undefined);
    await vi.waitFor(() => expect(record.calls).toContain("mount /dev/vda"));
    expect(await pyro.daemonStatus()).toMatchObject({ runningVms: 1 });
    await expect(pyro.stopDaemon({})).rejects.toMatchObject({ code: "DAEMON_BUSY" });
    await pyro.stopDaemon({ force: true });
    await expect(run).rejects.toMatchObject({ retryable: true });
    await running;
  });

  it("sweeps the machines of a daemon that died", async () => {
    const run = pyro.runInVm({ environment: "debian:12", argv: ["echo", "x"] });
    await run;
    await pyro.stopDaemon({ force: true });
    await running;
    const orphan = join(state.path, "vms/vm-0000000000000000");
    await mkdir(orphan);
    await serve();
    expect(await readdir(join(state.path, "vms"))).toEqual([]);
  });
});
