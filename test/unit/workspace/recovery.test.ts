import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { exists } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { cancelCommand } from "../../../src/workspace/index.js";
import { hang } from "../../fakes/fake-process.js";
import { content, NEVER, run, start, WorkspaceHost, written } from "../../fakes/workspace-host.js";

describe("after a daemon's death", () => {
  let host: WorkspaceHost;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
  });
  afterEach(async () => {
    await host[Symbol.asyncDispose]();
  });

  const again = (id: string) => host.workspaces.find(id);
  /** Makes the next daemon-ending step hang, and waits until it is reached. */
  const hangAt = (step: string): { reached: ReturnType<typeof vi.fn> } => {
    const reached = vi.fn();
    host.machines.before = (now, signal) => {
      if (now !== step) return;
      reached();
      return hang(signal);
    };
    return { reached };
  };

  it.each(["crash", "restart"] as const)(
    "(%s) the next follows a command by offset: nothing is lost, nothing twice",
    async (how) => {
      const { id } = await host.create();
      const lines = "i=0; while [ $i -lt 400 ]; do echo line $i; echo err $i >&2; i=$((i+1)); done";
      const command = await start(again(id), `${lines}; read x; ${lines}; exit 7`, { openStdin: true });
      await vi.waitFor(() => expect(command.output.position.stdout).toBeGreaterThan(1000));
      await host[how]();
      const followed = again(id).commands.find(1);
      expect([followed.isRunning, again(id).record.state]).toEqual([true, "started"]);
      await followed.live?.endInput();
      await followed.done;
      expect(followed.facts.exit).toMatchObject({ exitCode: 7 });
      const expected = Array.from({ length: 400 }, (_, index) => `line ${index}\n`)
        .join("")
        .repeat(2);
      const errors = expected.replaceAll("line", "err");
      expect(followed.output.position).toEqual({ stdout: expected.length, stderr: errors.length });
      const { stdout } = await followed.output.view(0, 65_536);
      expect(String(stdout.data)).toBe(expected);
    },
  );

  it.each(["crash", "restart"] as const)(
    "(%s) a command that ended meanwhile has its output and its exit",
    async (how) => {
      const { id } = await host.create();
      const command = await start(again(id), "read x; echo done; exit 4", { openStdin: true });
      const { live } = command;
      if (how === "crash") host.machines.killDaemon();
      else await host.workspaces[Symbol.asyncDispose]();
      await live?.endInput();
      await new Promise((resolve) => setTimeout(resolve, 50));
      await host.next();
      const followed = again(id).commands.find(1);
      await followed.done;
      expect([await written(followed), followed.facts.exit?.exitCode]).toEqual(["done\n", 4]);
    },
  );

  it("output and results of commands that had ended are there", async () => {
    const { id } = await host.create({ name: "kept" });
    await run(again(id), "echo hello; exit 2");
    await host.crash();
    expect(again("kept").record.state).toBe("started");
    expect(await written(again(id).commands.find(1))).toBe("hello\n");
    expect(again(id).commands.find(1).facts.exit?.exitCode).toBe(2);
    expect(await run(again(id), "cat seeded")).toBe("as seeded\n");
    expect(again(id).commands.all.map(({ sequence }) => sequence)).toEqual([1, 2]);
  });

  it("a command can be cancelled before its machine is adopted", async () => {
    const { id } = await host.create();
    await start(again(id), "sleep 100");
    let go: () => void = () => undefined;
    host.machines.killDaemon();
    host.machines.before = (step) =>
      step === "adopt" ? new Promise<void>((resolve) => (go = resolve)) : undefined;
    const next = host.next();
    await vi.waitFor(() => expect(host.machines.steps.at(-1)).toBe("adopt"));
    const cancelled = cancelCommand(again(id), 1);
    go();
    await next;
    expect((await cancelled).facts.exit).toMatchObject({ signal: "SIGKILL" });
  });

  it.each(["adopted", "resumed"] as const)(
    "a command that begins while its machine is being %s is not taken for one of before",
    async (how) => {
      const { id } = await host.create();
      if (how === "resumed") await again(id).suspend("idle").result;
      let letOn: () => void = () => undefined;
      let begin: () => void = () => undefined;
      const gates = {
        keepIn: new Promise<void>((resolve) => (letOn = resolve)),
        start: new Promise<void>((resolve) => (begin = resolve)),
      };
      host.machines.before = (step) => (step in gates ? gates[step as keyof typeof gates] : undefined);
      if (how === "adopted") host.machines.killDaemon();
      const up = how === "adopted" ? host.next() : again(id).start().result;
      await vi.waitFor(() => expect(host.machines.steps.at(-1)).toBe("keepIn"));
      const started = start(again(id), "echo mine; exit 3");
      await vi.waitFor(() => expect(host.machines.steps).toContain("start"));
      letOn();
      await up;
      begin();
      const command = await started;
      await command.done;
      expect(command.facts).toMatchObject({ exit: { exitCode: 3 } });
      expect(await written(command)).toBe("mine\n");
    },
  );

  it("a command that its machine does not know is interrupted", async () => {
    const { id } = await host.create();
    await start(again(id), "sleep 100");
    const [process] = host.machines.machine.processes.values();
    host.machines.machine.processes.clear();
    await host.crash();
    process?.kill();
    expect(again(id).commands.find(1).facts.interrupted).toBe("its machine does not know it any more");
  });

  it("a machine that is gone is a crash, and the next use starts it", async () => {
    const { id } = await host.create();
    await start(again(id), "sleep 100");
    host.machines.killDaemon();
    host.machines.machine.lose();
    await host.next();
    expect(again(id).record).toMatchObject({
      state: "stopped",
      stoppedBy: "crash",
      stoppedAtMs: host.nowMs,
      failure: { code: "VM_CRASHED", message: "the machine ended while no daemon ran" },
    });
    expect(again(id).commands.find(1).facts.interrupted).toBe("the machine ended while no daemon ran");
    expect(await content(again(id), "seeded")).toBe("as seeded\n");
  });

  it("a machine that cannot be told of its network is followed and watched all the same", async () => {
    const { id } = await host.create();
    const command = await start(again(id), "read x; exit 5", { openStdin: true });
    host.machines.before = (step) => {
      if (step === "keepIn") throw new PyroError("DEADLINE_EXCEEDED", "no answer", { hint: "" });
    };
    await host.restart();
    host.machines.before = () => undefined;
    expect(command.isRunning).toBe(true);
    const followed = again(id).commands.find(1);
    await vi.waitFor(() => expect(followed.live).toBeDefined());
    await followed.live?.endInput();
    await followed.done;
    expect(followed.facts.exit).toMatchObject({ exitCode: 5 });
    host.machines.machine.lose();
    await vi.waitFor(() => expect(again(id).record).toMatchObject({ state: "stopped", stoppedBy: "crash" }));
  });

  it("a machine that cannot be adopted is a crash too: nothing is held by what ran in it", async () => {
    const { id } = await host.create();
    await start(again(id), "sleep 100");
    host.machines.killDaemon();
    host.machines.before = (step) => {
      if (step !== "adopt") return;
      host.machines.machine.lose();
      throw new PyroError("VM_UNRESPONSIVE", "it does not answer", { hint: "wait" });
    };
    await host.next();
    host.machines.before = () => undefined;
    expect(again(id).record).toMatchObject({ stoppedBy: "crash", failure: { code: "VM_UNRESPONSIVE" } });
    expect([again(id).isIdle, again(id).commands.running]).toEqual([true, []]);
    expect(await content(again(id), "seeded")).toBe("as seeded\n");
  });

  it.each(["make", "write", "seal"])(
    "a creation that hung at %s is a failed workspace without layers",
    async (step) => {
      const { reached } = hangAt(step);
      const { id, paths } = await host.begin();
      await vi.waitFor(() => expect(reached).toHaveBeenCalled());
      host.machines.killDaemon();
      // The daemon's own sweep ends machines that no workspace is known to live in any more.
      for (const machine of host.machines.running.values()) machine.lose();
      await host.next();
      expect(again(id).record).toMatchObject({ state: "failed", failure: { code: "DAEMON_STOPPING" } });
      expect([await exists(paths.baseline), await exists(paths.active)]).toEqual([false, false]);
    },
  );

  it("a daemon that leaves ends a creation, and says so", async () => {
    const { reached } = hangAt("make");
    const { id } = await host.begin();
    await vi.waitFor(() => expect(reached).toHaveBeenCalled());
    await host.workspaces[Symbol.asyncDispose]();
    host.machines.before = () => undefined;
    await host.next();
    expect(again(id).record.state).toBe("failed");
  });

  it("a reset that was begun is finished, and starts when it is used", async () => {
    const { id } = await host.create();
    await run(again(id), "rm seeded");
    await again(id).note({ kind: "file_write", path: "/workspace/x" });
    const { reached } = hangAt("renew");
    again(id).reset();
    await vi.waitFor(() => expect(reached).toHaveBeenCalled());
    await host.crash();
    expect(again(id).record).toMatchObject({
      ...{ state: "stopped", stoppedBy: "reset", stoppedAtMs: host.nowMs },
      reset: { count: 1, snapshot: "baseline" },
    });
    expect(again(id).commands.all).toEqual([]);
    expect(await content(again(id), "seeded")).toBe("as seeded\n");
    expect(again(id).record).toMatchObject({ state: "started", stoppedAtMs: null });
  });

  it("one that the user stopped stays stopped", async () => {
    const { id } = await host.create();
    await again(id).stop("user").result;
    await host.crash();
    expect(again(id).record).toMatchObject({ state: "stopped", stoppedBy: "user" });
    await expect(again(id).machine(NEVER)).rejects.toMatchObject({ code: "WORKSPACE_STOPPED" });
  });

  it("machines of workspaces are named, so that nobody takes them for leftovers", async () => {
    const running = await host.create();
    const stopped = await host.create();
    await stopped.stop("user").result;
    await host.crash();
    expect([...host.workspaces.machineIds]).toEqual([running.record.machineId]);
  });

  it("a daemon that leaves lets go: machines run on, files are closed, images are free", async () => {
    const { id } = await host.create();
    await start(again(id), "sleep 100");
    const { id: machineId } = host.machines.machine;
    await host.workspaces[Symbol.asyncDispose]();
    expect([host.machines.running.size, host.holds, host.machines.held.size]).toEqual([1, 0, 0]);
    await host.next();
    expect([host.machines.machine.id, host.holds]).toEqual([machineId, 1]);
    expect(again(id).commands.running).toHaveLength(1);
  });

  it("an export that was on its way leaves nothing on the host, and what it was to replace is there", async () => {
    const { id, paths } = await host.create();
    host.machines.killDaemon();
    const temporary = host.path(".out.pyro-0123456789abcdef");
    await writeFile(temporary, "half");
    await writeFile(`${temporary}.old`, "mine");
    await writeFile(join(paths.directory, "export-pending"), temporary);
    await host.next();
    expect([await exists(temporary), await exists(`${temporary}.old`)]).toEqual([false, false]);
    expect(await readFile(host.path("out"), "utf8")).toBe("mine");
    expect(await exists(join(paths.directory, "export-pending"))).toBe(false);
    expect(again(id).record.state).toBe("started");
  });

  it("a pending export that names something of somebody else's removes nothing", async () => {
    const { paths } = await host.create();
    host.machines.killDaemon();
    await writeFile(host.path("precious"), "mine");
    await writeFile(join(paths.directory, "export-pending"), host.path("precious"));
    await host.next();
    expect(await readFile(host.path("precious"), "utf8")).toBe("mine");
  });
});
