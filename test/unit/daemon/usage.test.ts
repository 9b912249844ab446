import { spawn } from "node:child_process";
import { once } from "node:events";
import { link, mkdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { topService } from "../../../src/daemon/services/top.js";
import { diskUsage, processUsage } from "../../../src/daemon/usage.js";
import { Pyro } from "../../../src/sdk/index.js";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";
import { run, WorkspaceHost } from "../../fakes/workspace-host.js";

describe("What a process costs", () => {
  it("is its time and memory; one that stands still is told as well, and one that is gone is none", async () => {
    const child = spawn("sh", ["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; kill -STOP $$"]);
    await once(child, "spawn");
    const pid = child.pid ?? 0;
    const isStopped = async (): Promise<boolean> => {
      return / T /.test(await readFile(`/proc/${pid}/stat`, "utf8"));
    };
    while (!(await isStopped())) await new Promise((resolve) => setTimeout(resolve, 20));
    const usage = await processUsage(pid);
    expect(usage?.cpuUs).toBeGreaterThan(0);
    expect(usage?.memoryBytes).toBeGreaterThan(10_000);
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    expect(await processUsage(pid)).toBe(undefined);
  });
});

describe("What files take", () => {
  it("is what is allocated: holes count nothing, and what is left out and what is not there neither", async () => {
    await using state = await temporaryState();
    const at = (name: string): string => join(state.path, name);
    await mkdir(at("layers/below"), { recursive: true });
    await mkdir(at("layers/commands"));
    await writeFile(at("layers/holes"), "");
    await truncate(at("layers/holes"), 1e9);
    await writeFile(at("layers/below/data"), Buffer.alloc(100_000, 1));
    await writeFile(at("layers/commands/output"), Buffer.alloc(1_000_000, 1));
    await link(at("layers/holes"), at("layers/again"));
    const bytes = await diskUsage(at("layers"), ["commands"]);
    expect([bytes >= 100_000, bytes < 500_000]).toEqual([true, true]);
    expect(await diskUsage(at("nowhere"))).toBe(0);
  });
});

describe("The figures of all workspaces", () => {
  it("come in one answer, the last active first, and wait for none: not for one whose machine hangs", async () => {
    await using host = await WorkspaceHost.start();
    await host.create({ name: "idle" });
    host.nowMs += 1000;
    const stuck = await host.create({ name: "stuck" });
    await run(stuck, "echo hello");
    let letGo: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    host.machines.before = (step) => (step === "shutDown" ? held : undefined);
    const stopping = stuck.stop("user");
    await using state = await temporaryState();
    await using _daemon = await startFakeDaemon(state.path, { top: topService(host.workspaces) });
    await using pyro = new Pyro({ stateDir: state.path });
    const first = await pyro.topWorkspaces();
    const { workspaces, atUs, daemonId } = await pyro.topWorkspaces();
    expect([daemonId, atUs > first.atUs]).toEqual([first.daemonId, true]);
    expect(workspaces.map(({ name, pid, lastCommand }) => [name, pid !== null, lastCommand])).toEqual([
      ["stuck", false, "echo hello"],
      ["idle", true, null],
    ]);
    expect(workspaces[1]).toMatchObject({
      state: "started",
      hindrance: null,
      memMib: 1024,
      runningCommandCount: 0,
    });
    expect(workspaces[1]?.memoryBytes).toBeGreaterThan(1_000_000);
    expect(stopping.isRunning).toBe(true);
    letGo();
    await stopping.result;
  });
});
