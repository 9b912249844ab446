import { describe, expect, test } from "vitest";
import { sleep } from "../../../src/kit/index.js";
import { Pyro } from "../../../src/sdk/index.js";
import { ERAS, mcpSession } from "../../fakes/mcp-client.js";
import { VmHost } from "../../fakes/vm-host.js";

async function served() {
  const host = await VmHost.start();
  const daemon = await host.serve();
  const pyro = new Pyro({ stateDir: daemon.stateDir });
  return {
    ...{ host, pyro, stateDir: daemon.stateDir },
    [Symbol.asyncDispose]: async () => {
      await pyro[Symbol.asyncDispose]();
      await daemon[Symbol.asyncDispose]();
      await host[Symbol.asyncDispose]();
    },
  };
}

describe("the SDK", () => {
  test("takes a VM through its life, and gives its command's result", async () => {
    await using at = await served();
    const { pyro } = at;
    const { vmId, ...created } = await pyro.createVm({
      environment: "debian:12",
      memMib: 512,
      ttlSeconds: 60,
    });
    expect(created).toMatchObject({ state: "created", network: false, publishedPorts: [], memMib: 512 });
    expect(Date.parse(created.expiresAt) - Date.parse(created.createdAt)).toBe(60_000);
    expect(await pyro.startVm(vmId)).toMatchObject({ state: "started", isolation: "software" });
    expect(await pyro.networkInfoVm(vmId)).toEqual({
      ...{ vmId, state: "started", network: false, publishedPorts: [] },
    });
    expect(await pyro.stopVm(vmId)).toMatchObject({ state: "stopped", operation: { kind: "stop" } });
    expect(await pyro.statusVm(vmId.slice(0, 9))).toMatchObject({ vmId, state: "stopped" });
    const ran = await pyro.execVm({ vmId, argv: ["sh", "-c", "printf $A; exit 4"], env: { A: "é" } });
    expect(ran).toMatchObject({ vmId, stdout: "é", stderr: "", exitCode: 4, environment: "debian:12" });
    expect(await pyro.readRun({ runId: ran.runId })).toMatchObject({ state: "done" });
    await expect(pyro.statusVm(vmId)).rejects.toMatchObject({ code: "VM_NOT_FOUND" });
  });

  test("deletes, reaps, and says what is wrong with its arguments", async () => {
    await using at = await served();
    const { pyro, host } = at;
    const one = await pyro.createVm({ environment: "debian:12", ttlSeconds: 60 });
    const two = await pyro.createVm({ environment: "debian:12" });
    expect(await pyro.deleteVm(two.vmId)).toEqual({ vmId: two.vmId });
    const { reaped, vms } = await pyro.reapExpired();
    expect([reaped, vms.map(({ vmId }) => vmId)]).toEqual([[], [one.vmId]]);
    for (const timeoutSeconds of [0, 1.5, -1])
      await expect(pyro.execVm({ vmId: one.vmId, command: "true", timeoutSeconds })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    await expect(pyro.createVm({ environment: "" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const network = { allow: ["no rule: at all"] };
    await expect(pyro.createVm({ environment: "debian:12", network })).rejects.toMatchObject({
      code: "INVALID_NETWORK_POLICY",
    });
    host.nowMs += 61_000;
    expect(await pyro.reapExpired()).toEqual({ reaped: [one.vmId], vms: [] });
  });

  test("a command whose caller leaves, or does not wait so long, is ended with its VM", async () => {
    await using at = await served();
    const { pyro, host } = at;
    for (const call of [() => ({ timeoutMs: 300 }), () => ({ signal: AbortSignal.timeout(300) })]) {
      const { vmId } = await pyro.createVm({ environment: "debian:12" });
      await expect(pyro.execVm({ vmId, command: "sleep 60" }, call())).rejects.toThrow();
      for (let tries = 0; (await host.left()).length > 0; tries++) {
        expect(tries).toBeLessThan(300);
        await sleep(10);
      }
    }
    expect(host.machines.running.size).toBe(0);
  });

  test("a start that fails throws its reason, and the record keeps it", async () => {
    await using at = await served();
    at.host.machines.before = (step) => {
      if (step === "make") throw new Error("the fake will not");
    };
    const { vmId } = await at.pyro.createVm({ environment: "debian:12" });
    await expect(at.pyro.startVm(vmId)).rejects.toMatchObject({ code: "INTERNAL" });
    const { state, failure, operation } = await at.pyro.statusVm(vmId);
    expect([state, failure?.code, operation?.state]).toEqual(["created", "INTERNAL", "failed"]);
  });
});

describe.each(ERAS)("a model, in protocol era %s", (era) => {
  const session = async (stateDir: string, blockMs?: number) =>
    await mcpSession(
      { stateDir, profile: "workspace-full", ...(blockMs === undefined ? {} : { blockMs }) },
      era,
    );

  test("is led from call to call: create, start, exec", async () => {
    await using at = await served();
    await using mcp = await session(at.stateDir);
    const created = await mcp.tool("vm_create", {});
    const { vm_id: vmId } = created.record;
    const id = `vm_id=${JSON.stringify(vmId)}`;
    expect(created.record).toMatchObject({ state: "created", network: false, next: `vm_start(${id})` });
    expect(created.texts[0]).toContain(`next: vm_start(${id})`);
    const started = await mcp.tool("vm_start", { vm_id: vmId });
    expect(started.record).toMatchObject({ state: "started", next: `vm_exec(${id}, command="…")` });
    expect((await mcp.tool("vm_network_info", { vm_id: vmId })).record).toMatchObject({
      ...{ network: false, published_ports: [] },
    });
    const ran = await mcp.tool("vm_exec", { vm_id: vmId, command: "echo hi; exit 2" });
    expect(ran.texts[0]?.split("\n")[0]).toBe("exit 2");
    expect(ran.texts[1]).toBe("hi\n");
    expect(ran.fields).toMatchObject({ exit_code: 2, stdout: "hi\n", execution_mode: "guest" });
    const gone = await mcp.tool("vm_status", { vm_id: vmId });
    expect([gone.isError, gone.texts[0]?.split(":")[0]]).toEqual([true, "VM_NOT_FOUND"]);
  });

  test("a command that takes longer than a call goes on as a run, which vm_run waits for", async () => {
    await using at = await served();
    await using mcp = await session(at.stateDir, 1_600);
    const { vm_id: vmId } = (await mcp.tool("vm_create", {})).record;
    const ran = await mcp.tool("vm_exec", { vm_id: vmId, command: "sleep 1.5; echo late" });
    expect(ran.texts[0]).toMatch(/^still running\n/);
    expect(ran.texts[0]).toMatch(/next: vm_run\(run_id="run-[^"]+", offset=0, wait_seconds=40\)/);
    await sleep(1_500);
    const later = await mcp.tool("vm_run", { run_id: ran.fields["run_id"], wait_seconds: 1 });
    expect(later.texts.slice(0, 2)).toEqual([expect.stringMatching(/^exit 0\n/), "late\n"]);
    expect(await at.host.left()).toEqual([]);
  });

  test("a start that takes longer than a call is waited for by vm_status", async () => {
    await using at = await served();
    at.host.machines.before = async (step) => {
      if (step === "make") await sleep(600);
    };
    await using mcp = await session(at.stateDir, 2_050);
    const { vm_id: vmId } = (await mcp.tool("vm_create", {})).record;
    const started = await mcp.tool("vm_start", { vm_id: vmId });
    expect(started.record).toMatchObject({
      ...{ state: "created", operation: { kind: "start", state: "running" } },
      next: `vm_status(vm_id=${JSON.stringify(vmId)}, wait_seconds=40)`,
    });
    await sleep(700);
    expect((await mcp.tool("vm_status", { vm_id: vmId, wait_seconds: 1 })).record).toMatchObject({
      state: "started",
    });
    const { record, texts } = await mcp.tool("vm_reap_expired", {});
    expect(record).toMatchObject({ count: 0, reaped: [], vms: [{ vm_id: vmId, state: "started" }] });
    expect(texts[0]).toContain("no VM was past its TTL\n1 VM is left");
    expect((await mcp.tool("vm_stop", { vm_id: vmId })).record).toMatchObject({ state: "stopped" });
    expect((await mcp.tool("vm_delete", { vm_id: vmId })).record).toMatchObject({ deleted: true });
  });

  test("without a network of the server's user no call gives one, and environments are listed", async () => {
    await using at = await served();
    await using mcp = await session(at.stateDir);
    const refused = await mcp.tool("vm_create", { network: true });
    expect(refused.texts[0]).toMatch(/^INVALID_ARGUMENT: unknown: "network"/);
    const { record } = await mcp.tool("vm_list_environments", {});
    expect(record["environments"]).toEqual(
      expect.arrayContaining([expect.objectContaining({ installed: true })]),
    );
  });
});
