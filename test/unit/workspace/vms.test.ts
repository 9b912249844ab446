import { describe, expect, test } from "vitest";
import { sleep } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { NO_NETWORK, vmStateOf, type RunView } from "../../../src/workspace/index.js";
import { VmHost } from "../../fakes/vm-host.js";

const shown = ({ output }: RunView): string => Buffer.from(output?.stdout.data ?? []).toString();

async function until(probe: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await probe()); tries++) {
    if (tries > 500) throw new Error("it does not come");
    await sleep(10);
  }
}

describe("a VM of the low level", () => {
  test("is a record until it is started, keeps its disk over a stop, and is gone after its command", async () => {
    await using host = await VmHost.start();
    const vm = await host.create();
    expect(vm.id).toMatch(/^vm-/);
    expect([vmStateOf(vm), host.machines.running.size]).toEqual(["created", 0]);
    await host.vms.start(vm).result;
    expect([vmStateOf(vm), host.machines.running.size]).toEqual(["started", 1]);
    await host.vms.start(vm).result;
    await host.vms.stop(vm).result;
    expect([vmStateOf(vm), host.machines.running.size]).toEqual(["stopped", 0]);
    await host.vms.start(vm).result;
    const ran = await host.exec(vm, "echo out; echo err >&2; exit 3");
    expect(ran.state).toMatchObject({ state: "done", result: { exitCode: 3, isolation: "software" } });
    expect(shown(ran)).toBe("out\n");
    expect(() => host.vms.find(vm.id)).toThrow(expect.objectContaining({ code: "VM_NOT_FOUND" }));
    expect([host.machines.running.size, await host.left()]).toEqual([0, []]);
    expect(host.machines.held.size).toBe(0);
  });

  test("is started by its command where it does not run, and found by a unique prefix of its id", async () => {
    await using host = await VmHost.start();
    const vm = await host.create();
    expect(host.vms.find(vm.id.slice(0, 8))).toBe(vm);
    const other = await host.create();
    expect(() => host.vms.find("vm-")).toThrow(expect.objectContaining({ code: "AMBIGUOUS_REFERENCE" }));
    expect(() => host.vms.find("")).toThrow(expect.objectContaining({ code: "VM_NOT_FOUND" }));
    expect(shown(await host.exec(vm, "echo hello"))).toBe("hello\n");
    expect(await host.left()).toEqual([other.id]);
  });

  test("an unknown environment is refused before anything is kept", async () => {
    await using host = await VmHost.start();
    const shape = { vcpuCount: 1, memMib: 512, ttlSeconds: 60 };
    const unknown = host.vms.create({ environment: "plan9", ...shape, network: NO_NETWORK });
    await expect(unknown).rejects.toMatchObject({ code: "UNKNOWN_ENVIRONMENT" });
    expect(await host.left()).toEqual([]);
  });

  test("takes one command: a second is refused, and what cannot be run costs nothing", async () => {
    await using host = await VmHost.start();
    const vm = await host.create();
    const nothing = { argv: [], command: "", env: [], timeoutMs: undefined };
    await expect(host.vms.exec(vm, nothing)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const { runId } = await host.vms.exec(vm, { ...nothing, command: "sleep 0.3" });
    await expect(host.vms.exec(vm, { ...nothing, command: "true" })).rejects.toMatchObject({
      code: "VM_SPENT",
    });
    await expect(host.vms.start(vm).result).rejects.toMatchObject({ code: "VM_SPENT" });
    await expect(host.vms.stop(vm).result).rejects.toMatchObject({ code: "VM_SPENT" });
    expect((await host.read(runId)).state).toMatchObject({ state: "done", result: { exitCode: 0 } });
    expect(await host.left()).toEqual([]);
  });

  test("started twice at once it is made once; stopped before it was started it stays as it is", async () => {
    await using host = await VmHost.start();
    const vm = await host.create();
    await host.vms.stop(vm).result;
    expect(vmStateOf(vm)).toBe("created");
    await Promise.all([host.vms.start(vm).result, host.vms.start(vm).result]);
    expect(host.machines.steps.filter((step) => step === "make")).toHaveLength(1);
  });

  test("a start that fails leaves it as created and says why; the next one may succeed", async () => {
    await using host = await VmHost.start();
    const vm = await host.create();
    host.machines.before = (step) => {
      if (step === "make") throw new PyroError("DISK_FULL", "no room for its disk");
    };
    await expect(host.vms.start(vm).result).rejects.toMatchObject({ code: "DISK_FULL" });
    expect([vmStateOf(vm), vm.record.failure?.code]).toEqual(["created", "DISK_FULL"]);
    host.machines.before = () => undefined;
    await host.vms.start(vm).result;
    expect([vmStateOf(vm), vm.record.failure]).toEqual(["started", null]);
  });

  test("a command whose VM cannot be started fails, and the VM is deleted", async () => {
    await using host = await VmHost.start();
    const vm = await host.create();
    host.machines.before = (step) => {
      if (step === "seal") throw new PyroError("VM_CRASHED", "it fell over");
    };
    expect((await host.exec(vm, "true")).state).toMatchObject({ error: { code: "VM_CRASHED" } });
    expect([await host.left(), host.machines.running.size]).toEqual([[], 0]);
  });

  test("a command that is cancelled, timed out, crashed or deleted under ends with its VM", async () => {
    await using host = await VmHost.start();
    const cancelled = await host.create();
    const { runId } = await host.vms.exec(cancelled, {
      ...{ argv: [], command: "sleep 60", env: [], timeoutMs: undefined },
    });
    await until(() => (host.machines.running.size > 0 ? host.machines.machine.processes.size > 0 : false));
    expect((await host.runs.cancel(runId)).state).toMatchObject({ error: { code: "CANCELLED" } });

    const slow = await host.exec(await host.create(), "sleep 60", { timeoutMs: 50 });
    expect(slow.state).toMatchObject({ state: "done", result: { timedOut: true } });

    for (const end of ["crash", "delete"] as const) {
      const vm = await host.create();
      const ends = host.exec(vm, "sleep 60");
      await until(() => (host.machines.running.size > 0 ? host.machines.machine.processes.size > 0 : false));
      if (end === "crash") host.machines.machine.lose();
      else await host.vms.delete(vm);
      const code = end === "crash" ? "VM_CRASHED" : "VM_NOT_FOUND";
      expect((await ends).state).toMatchObject({ state: "failed", error: { code } });
    }
    expect([await host.left(), host.machines.running.size]).toEqual([[], 0]);
  });

  test("past its TTL it is deleted, by itself and on request; a running command holds it", async () => {
    await using host = await VmHost.start();
    const [created, started, long] = [await host.create(60), await host.create(60), await host.create(6000)];
    await host.vms.start(started).result;
    expect(await host.vms.reapExpired()).toEqual([]);
    const running = await host.create(60);
    const ends = host.exec(running, "sleep 1; echo done");
    await until(() => running.runningMachine !== undefined);
    host.nowMs += 61_000;
    expect([...(await host.vms.reapExpired())].sort()).toEqual([created.id, started.id].sort());
    expect((await host.left()).sort()).toEqual([long.id, running.id].sort());
    expect(shown(await ends)).toBe("done\n");
    host.nowMs += 6_000_000;
    host.vms.kept.reap();
    await until(async () => (await host.left()).length === 0);
  });
});

describe("after the daemon was killed", () => {
  test("VMs are what they were, in the machines that they had", async () => {
    await using host = await VmHost.start();
    const [created, started, stopped] = [await host.create(), await host.create(), await host.create()];
    await host.vms.start(started).result;
    await host.vms.start(stopped).result;
    await host.vms.stop(stopped).result;
    await host.crash();
    const states = [created, started, stopped].map(({ id }) => vmStateOf(host.vms.find(id)));
    expect(states).toEqual(["created", "started", "stopped"]);
    expect(shown(await host.exec(host.vms.find(started.id), "echo on"))).toBe("on\n");
    expect(shown(await host.exec(host.vms.find(stopped.id), "echo again"))).toBe("again\n");
    expect(host.machines.running.size).toBe(0);
  });

  test("one in the middle of its first start is as created, and can be started", async () => {
    await using host = await VmHost.start();
    const vm = await host.create();
    let isThere = false;
    host.machines.before = async (step) => {
      if (step !== "seal") return;
      isThere = true;
      await new Promise(() => undefined);
    };
    host.vms.start(vm);
    await until(() => isThere);
    await host.crash();
    const found = host.vms.find(vm.id);
    expect([vmStateOf(found), host.machines.running.size]).toEqual(["created", 0]);
    await host.vms.start(found).result;
    expect(vmStateOf(found)).toBe("started");
  });

  test("one in the middle of its command is deleted, its machine too, and the run is forgotten", async () => {
    await using host = await VmHost.start();
    const vm = await host.create();
    const { runId } = await host.vms.exec(vm, {
      ...{ argv: [], command: "sleep 60", env: [], timeoutMs: undefined },
    });
    await until(() => (host.machines.running.size > 0 ? host.machines.machine.processes.size > 0 : false));
    await host.crash();
    expect([await host.left(), host.machines.running.size]).toEqual([[], 0]);
    await expect(host.read(runId)).rejects.toMatchObject({ code: "RUN_NOT_FOUND" });
  });
});
