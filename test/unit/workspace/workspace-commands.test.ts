import { mkdir, readdir, readlink, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LIMITS } from "../../../src/protocol/index.js";
import { absolutePath, cancelCommand, startCommand } from "../../../src/workspace/index.js";
import { CommandLog } from "../../../src/workspace/command-log.js";
import { CommandOutput } from "../../../src/workspace/command-output.js";
import { temporaryState } from "../../fakes/state-directory.js";
import { NEVER, run, start, WorkspaceHost, written } from "../../fakes/workspace-host.js";

describe("commands of a workspace", () => {
  let host: WorkspaceHost;
  let workspace: Awaited<ReturnType<WorkspaceHost["create"]>>;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
    workspace = await host.create();
  });
  afterEach(async () => {
    await host[Symbol.asyncDispose]();
  });

  it("end with their code or signal, and are numbered in the order of their start", async () => {
    const ended = [];
    for (const line of ["exit 3", "kill -TERM $$", "true"]) {
      const command = await start(workspace, line);
      await command.done;
      ended.push(command.facts);
    }
    expect(ended).toMatchObject([
      { sequence: 1, command: "exit 3", cwd: "/workspace", exit: { exitCode: 3, signal: null } },
      { sequence: 2, exit: { exitCode: null, signal: "SIGTERM" } },
      { sequence: 3, exit: { exitCode: 0, signal: null, timedOut: false } },
    ]);
    expect(workspace.commands.all.map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
  });

  it("are forgotten by the machine once they are recorded", async () => {
    await run(workspace, "echo x");
    await vi.waitFor(() => expect([...host.machines.machine.processes.keys()]).toEqual([]));
    expect(await written(workspace.commands.find(1))).toBe("x\n");
  });

  /** Files of outputs that this process has open. */
  const openOutputs = async (): Promise<string[]> => {
    const links = (await readdir("/proc/self/fd")).map((fd) =>
      readlink(`/proc/self/fd/${fd}`).catch(() => ""),
    );
    return (await Promise.all(links)).filter((path) => path.startsWith(workspace.paths.commands));
  };

  it("whose output is deleted while it is opened is read as empty, and leaves no file open", async () => {
    await run(workspace, "echo over");
    const command = workspace.commands.find(1);
    await rm(join(workspace.paths.commands, "1/output/stderr"));
    expect(await written(command)).toBe("");
    expect(await openOutputs()).toEqual([]);
  });

  it("hold no file open once they are over, and are read all the same", async () => {
    const running = await start(workspace, "echo begun; exec sleep 100");
    await vi.waitFor(async () => expect((await openOutputs()).length).toBe(4));
    await run(workspace, "echo over");
    expect((await openOutputs()).length).toBe(4);
    await cancelCommand(workspace, running.sequence);
    expect(await openOutputs()).toEqual([]);
    expect([await written(running), await written(workspace.commands.find(2))]).toEqual([
      "begun\n",
      "over\n",
    ]);
    expect(await openOutputs()).toEqual([]);
    await host.crash();
    await host.restart();
    expect(await openOutputs()).toEqual([]);
  });

  it("run where they are told to, with their variables", async () => {
    await run(workspace, "mkdir sub");
    const env = [Buffer.from("NAME=a value")];
    expect(await run(workspace, 'basename "$PWD"; echo "$NAME"', { cwd: "sub", env })).toBe("sub\na value\n");
    expect(workspace.commands.find(2).facts.cwd).toBe("/workspace/sub");
  });

  it("are ended at their time limit", async () => {
    const command = await start(workspace, "sleep 100", { timeoutMs: 50 });
    await command.done;
    expect(command.facts.exit).toMatchObject({ timedOut: true, signal: "SIGKILL" });
  });

  it("read what they are sent", async () => {
    const command = await start(workspace, "cat", { openStdin: true });
    expect(await command.live?.writeInput(Buffer.from("some input"))).toBe(true);
    await command.live?.endInput();
    await command.done;
    expect([await written(command), command.live]).toEqual(["some input", undefined]);
  });

  it("run side by side", async () => {
    const [first, second] = await Promise.all([
      start(workspace, "read x; echo first", { openStdin: true }),
      start(workspace, "echo second"),
    ]);
    await second.done;
    expect(first.isRunning).toBe(true);
    await first.live?.endInput();
    await first.done;
    expect([await written(first), await written(second)]).toEqual(["first\n", "second\n"]);
    expect(new Set([first.sequence, second.sequence])).toEqual(new Set([1, 2]));
  });

  it("are written down as people write them", async () => {
    const argv = ["echo", "a b", "it's", "", "x=1"].map((word) => Buffer.from(word));
    const command = await startCommand(
      workspace,
      { argv, command: "", env: [], cwd: "/workspace", timeoutMs: undefined, openStdin: false },
      { signal: NEVER },
    );
    await command.done;
    expect(command.facts.command).toBe("echo 'a b' 'it'\\''s' '' x=1");
  });

  it("that cannot be started are not recorded", async () => {
    const argv = [Buffer.from("/no/such/program")];
    await expect(start(workspace, "", { argv })).rejects.toMatchObject({ code: "COMMAND_NOT_FOUND" });
    await expect(start(workspace, "true", { cwd: "a\0b" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(start(workspace, "true", { argv })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(workspace.commands.all).toEqual([]);
    expect(await readdir(workspace.paths.commands)).toEqual([]);
  });

  it("are heard by a listener from the first byte, and go on without one that leaves", async () => {
    const heard: string[] = [];
    const listener = (stream: string, data: Uint8Array): Promise<void> => {
      heard.push(`${stream}: ${Buffer.from(data).toString()}`);
      return Promise.resolve();
    };
    const command = await start(workspace, "echo one; read x; echo two >&2", { openStdin: true, listener });
    await vi.waitFor(() => expect(heard).toEqual(["stdout: one\n"]));
    command.listen(listener)[Symbol.dispose]();
    await command.live?.endInput();
    await command.done;
    expect(heard).toHaveLength(1);
    expect(await written(command)).toBe("one\ntwo\n");
  });

  it("are cancelled with all they started; what is over stays as it is", async () => {
    const command = await start(workspace, "sleep 100 & sleep 100");
    expect((await cancelCommand(workspace, 1)).facts.exit).toMatchObject({ signal: "SIGKILL" });
    const { facts } = command;
    expect((await cancelCommand(workspace, 1)).facts).toBe(facts);
    await expect(cancelCommand(workspace, 2)).rejects.toMatchObject({
      code: "SEQUENCE_NOT_FOUND",
      hint: "there are 1 to 1; a reset clears those before it",
    });
  });

  it("say that none has run where none has", () => {
    expect(() => workspace.commands.find(1)).toThrow(
      expect.objectContaining({
        code: "SEQUENCE_NOT_FOUND",
        hint: expect.stringContaining("no command") as string,
      }),
    );
  });

  it("are kept up to a number, the oldest that ended going first", async () => {
    const kept = LIMITS.commandsKept;
    const running = await start(workspace, "read x", { openStdin: true });
    const facts = { command: "true", cwd: "/", startedAtMs: 0, interrupted: "for the test" };
    for (let sequence = 2; sequence <= kept; sequence += 1)
      await workspace.commands.add({ sequence, ...facts });
    expect(workspace.commands.all).toHaveLength(kept);
    await workspace.commands.add({ sequence: kept + 1, ...facts });
    expect(workspace.commands.all.map(({ sequence }) => sequence).slice(0, 2)).toEqual([1, 3]);
    expect((await readdir(workspace.paths.commands)).length).toBe(kept);
    await running.live?.endInput();
    await running.done;
  });
});

describe("the output of a command", () => {
  let state: Awaited<ReturnType<typeof temporaryState>>;
  beforeEach(async () => {
    state = await temporaryState();
  });
  afterEach(async () => {
    await state[Symbol.asyncDispose]();
  });

  it("is read by offset, and cut in the middle to what is asked for", async () => {
    await using output = await CommandOutput.create(join(state.path, "output"));
    await output.append("stdout", Buffer.from("0123456789"));
    await output.append("stderr", Buffer.from("abcdef"));
    const { window, totalBytes, stdout, stderr } = await output.view(2, 8);
    expect({ ...window, head: String(window.head), tail: String(window.tail), totalBytes }).toEqual({
      ...{ offset: 2, head: "2345", cutBytes: 6, tail: "cdef", nextOffset: 6, totalBytes: 16 },
    });
    expect([String(stdout.data), stdout.truncated, String(stderr.data)]).toEqual([
      "01236789",
      true,
      "abcdef",
    ]);
    expect(output.keptBytes).toBe(32);
  });

  it("counts exactly what it drops, also after it was opened again", async () => {
    const path = join(state.path, "output");
    const piece = Buffer.alloc(1024 * 1024, "x");
    {
      await using output = await CommandOutput.create(path);
      for (let at = 0; at < LIMITS.runOutputBytes + 3 * piece.length; at += piece.length)
        await output.append("stdout", piece);
    }
    await using output = await CommandOutput.reopen(path);
    expect(await output.view(0, 10)).toMatchObject({
      totalBytes: LIMITS.runOutputBytes + 3 * piece.length,
      droppedBytes: 3 * piece.length,
    });
  });

  it.each([0, 7])("with %d bytes of totals was not begun", async (bytes) => {
    const path = join(state.path, "output");
    await (await CommandOutput.create(path))[Symbol.asyncDispose]();
    await writeFile(join(path, "totals"), Buffer.alloc(bytes, 1));
    await using output = await CommandOutput.reopen(path);
    expect(output.position).toEqual({ stdout: 0, stderr: 0 });
  });

  it("that was written beyond its totals takes the same bytes again", async () => {
    const path = join(state.path, "output");
    {
      await using output = await CommandOutput.create(path);
      await output.append("stdout", Buffer.from("one "));
    }
    await writeFile(join(path, "all"), "one two t");
    await using output = await CommandOutput.reopen(path);
    await output.append("stdout", Buffer.from("two three"));
    expect(String((await output.view(0, 100)).window.head)).toBe("one two three");
  });

  it("of a command goes also while a record of it is being written", async () => {
    const path = join(state.path, "commands");
    await using log = await CommandLog.open(path);
    await log.add({ sequence: 1, command: "true", cwd: "/", startedAtMs: 0 });
    const until = Date.now() + 30;
    const writing = (async () => {
      for (let at = 0; Date.now() < until; at += 1) await writeFile(join(path, "1", `record-${at}`), "");
    })().catch((error: unknown) => expect(error).toMatchObject({ code: "ENOENT" }));
    await log.remove(1);
    await writing;
    expect(await readdir(path)).toEqual([]);
  });

  it("of commands that were half recorded or half removed goes", async () => {
    const path = join(state.path, "commands");
    const facts = { command: "true", cwd: "/", startedAtMs: 0 };
    {
      await using log = await CommandLog.open(path);
      for (const sequence of [1, 2, 3]) await log.add({ sequence, ...facts });
    }
    await writeFile(join(path, "2/command.json"), '{"seq');
    await mkdir(join(path, "5"));
    await mkdir(join(path, "notes"));
    await rm(join(path, "3/output/totals"));
    await using log = await CommandLog.open(path);
    expect(log.all.map(({ sequence, isRunning }) => [sequence, isRunning])).toEqual([[1, true]]);
    // One that says something that cannot be read is nobody's to throw away, but by a reset.
    expect((await readdir(path)).sort()).toEqual(["1", "2", "notes"]);
    await log.clear();
    expect(await readdir(path)).toEqual(["notes"]);
  });
});

it("relative paths of the guest lie below /workspace", () => {
  expect(["", "a/b", "/etc"].map(absolutePath)).toEqual(["/workspace", "/workspace/a/b", "/etc"]);
});
