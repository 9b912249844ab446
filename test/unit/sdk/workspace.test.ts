import { execFileSync } from "node:child_process";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { type Pyro, type ExecEvent, type WorkspaceRecord } from "../../../src/sdk/index.js";
import { pyroOverFakes, type PyroOverFakes } from "../../fakes/pyro-over-fakes.js";

const text = (data: Uint8Array | undefined): string => Buffer.from(data ?? []).toString();

// Real workspaces over fake machines, through the daemon's service, its real wire and the SDK.
describe("workspaces through the SDK", () => {
  let fakes: PyroOverFakes;
  let host: PyroOverFakes["host"];
  let pyro: Pyro;
  beforeEach(async () => {
    fakes = await pyroOverFakes();
    ({ host, pyro } = fakes);
  });
  afterEach(() => fakes[Symbol.asyncDispose]());

  const environment = "debian:12";
  const seedDirectory = async (): Promise<string> => {
    const path = host.path("seed");
    await mkdir(join(path, "src"), { recursive: true });
    await writeFile(join(path, "src/app.py"), "a = 1\nb = 2\n");
    await writeFile(join(path, "README"), "read me\n");
    return path;
  };
  const seeded = async (): Promise<WorkspaceRecord> =>
    await pyro.createWorkspace({
      environment,
      name: "fix",
      source: { kind: "path", path: await seedDirectory() },
    });
  const stalled = (step: string): { go: () => void } => {
    const gate = { go: (): void => undefined };
    // Open before or after the step is reached: either way it goes on.
    const opened = new Promise<void>((resolve) => (gate.go = resolve));
    host.machines.before = (now) => (now === step ? opened : undefined);
    return gate;
  };

  it("creates an empty one with what is asked for, and what is left out by default", async () => {
    const record = await pyro.createWorkspace({
      environment,
      name: "fix-1",
      labels: { ticket: "42" },
      memMib: 512,
    });
    expect(record).toMatchObject({
      ...{ name: "fix-1", labels: { ticket: "42" }, environment, state: "started", isolation: "software" },
      ...{ networkPolicy: "off", workspacePath: "/workspace", secrets: [], vcpuCount: 1, memMib: 512 },
      workspaceSeed: {
        mode: "empty",
        seedPath: null,
        originKind: "empty",
        originRef: null,
        entryCount: 0,
        bytes: 0,
      },
      ...{
        commandCount: 0,
        runningCommandCount: 0,
        lastCommand: null,
        failure: null,
        stoppedBy: null,
        warnings: [],
      },
      reset: { count: 0, at: null, snapshot: null },
      operation: { kind: "create", state: "done", error: null },
    });
    expect(Date.parse(record.expiresAt) - Date.parse(record.lastActivityAt)).toBe(600_000);
    expect(await pyro.listWorkspaces()).toEqual([record]);
  });

  it("seeds it from a directory, and from an archive", async () => {
    const directory = await seeded();
    expect(directory.workspaceSeed).toMatchObject({
      mode: "directory",
      seedPath: host.path("seed"),
      bytes: 20,
    });
    const archive = host.path("seed.tar");
    execFileSync("tar", ["-cf", archive, "-C", host.path("seed"), "."]);
    const packed = await pyro.createWorkspace({ environment, source: { kind: "path", path: archive } });
    expect(packed.workspaceSeed).toMatchObject({ mode: "tar_archive", seedPath: archive, bytes: 20 });
    for (const { workspaceId } of [directory, packed]) {
      const read = await pyro.readWorkspaceFile({ workspaceId, path: "src/app.py" });
      expect(text(read.data)).toBe("a = 1\nb = 2\n");
    }
  });

  it("names what is wrong with a new one, and leaves nothing of it for a caller who waits", async () => {
    const create = (options: object) => pyro.createWorkspace({ environment, ...options });
    const wrong: [object, RegExp][] = [
      [{ environment: "" }, /no environment/],
      [{ name: "-x" }, /the name "-x" is not allowed/],
      [{ name: "a".repeat(65) }, /is not allowed/],
      [{ labels: { "a b": "c" } }, /the label "a b"/],
      [{ labels: { a: "x".repeat(257) } }, /value of label a/],
      [{ labels: Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`l${at}`, ""])) }, /65 labels/],
      [{ vcpuCount: 1000 }, /vcpu_count is 1000/],
      [{ memMib: 1 }, /mem_mib is 1/],
      [{ source: { kind: "path", path: "relative" } }, /not absolute/],
      [{ source: { kind: "project", path: "relative" } }, /not absolute/],
    ];
    for (const [options, message] of wrong)
      await expect(create(options)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      });
    expect(await pyro.listWorkspaces()).toEqual([]);
    const path = host.path("none");
    await expect(create({ source: { kind: "path", path } })).rejects.toMatchObject({
      code: "SEED_NOT_FOUND",
    });
    await expect(create({ source: { kind: "project", path } })).rejects.toBeInstanceOf(PyroError);
    await expect(create({ source: { kind: "repository", url: "" } })).rejects.toBeInstanceOf(PyroError);
    expect(await pyro.listWorkspaces()).toEqual([]);
    expect(await readdir(host.path("workspaces"))).toEqual([]);
  });

  it("leaves a failed one that says what was wrong for a caller who did not wait that long", async () => {
    const gate = stalled("make");
    const source = { kind: "path", path: host.path("none") } as const;
    const { workspaceId } = await pyro.createWorkspace({ environment, source, waitMs: 0 });
    gate.go();
    const failed = await pyro.statusWorkspace(workspaceId, { waitMs: 30_000 });
    expect(failed).toMatchObject({
      state: "failed",
      failure: { code: "SEED_NOT_FOUND" },
      operation: { state: "failed" },
    });
    await expect(pyro.execWorkspace({ workspaceId, argv: ["true"] })).rejects.toMatchObject({
      code: "WORKSPACE_FAILED",
      message: expect.stringContaining("there is no") as string,
      hint: expect.stringContaining("--seed-path") as string,
    });
    await pyro.deleteWorkspace(workspaceId);
  });

  it("answers with what goes on where the caller does not wait, and status waits for the rest", async () => {
    const gate = stalled("make");
    const begun = await pyro.createWorkspace({ environment, waitMs: 0 });
    expect(begun).toMatchObject({
      state: "creating",
      isolation: null,
      operation: { state: "running", progress: 0.5 },
    });
    expect((await pyro.statusWorkspace(begun.workspaceId, { waitMs: 10 })).state).toBe("creating");
    const waiting = pyro.statusWorkspace(begun.workspaceId, { waitMs: 10_000 });
    gate.go();
    expect((await waiting).state).toBe("started");
  });

  it("tells how far it is while the caller waits", async () => {
    const gate = stalled("make");
    const seen: (number | null | undefined)[] = [];
    const creation = pyro.createWorkspace({
      environment,
      onProgress: ({ operation }) => {
        seen.push(operation?.progress);
        gate.go();
      },
    });
    expect((await creation).state).toBe("started");
    expect(seen[0]).toBe(0.5);
  });

  it("changes name and labels", async () => {
    const { workspaceId } = await pyro.createWorkspace({
      environment,
      name: "old",
      labels: { a: "1", b: "2" },
    });
    const changed = await pyro.updateWorkspace({
      workspaceId: "old",
      name: "new",
      labels: { c: "3" },
      clearLabels: ["a"],
    });
    expect(changed).toMatchObject({ workspaceId, name: "new", labels: { b: "2", c: "3" } });
    expect(await pyro.updateWorkspace({ workspaceId, clearName: true })).toMatchObject({ name: null });
    await expect(pyro.updateWorkspace({ workspaceId, clearName: true, name: "x" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(pyro.updateWorkspace({ workspaceId, name: "a/b" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("names what a reference does not find, or finds twice", async () => {
    await expect(pyro.statusWorkspace("none")).rejects.toMatchObject({
      code: "WORKSPACE_NOT_FOUND",
      hint: expect.stringContaining("pyro workspace create") as string,
    });
    const ids = [];
    for (const name of ["same", "same"])
      ids.push((await pyro.createWorkspace({ environment, name })).workspaceId);
    await expect(pyro.statusWorkspace("same")).rejects.toMatchObject({
      code: "AMBIGUOUS_REFERENCE",
      details: { workspace_ids: expect.arrayContaining(ids) as string[] },
    });
  });

  it("stops, starts, resets and deletes", async () => {
    const { workspaceId } = await seeded();
    expect(await pyro.stopWorkspace(workspaceId)).toMatchObject({ state: "stopped", stoppedBy: "user" });
    await expect(pyro.execWorkspace({ workspaceId, command: "true" })).rejects.toMatchObject({
      code: "WORKSPACE_STOPPED",
    });
    expect(await pyro.startWorkspace(workspaceId)).toMatchObject({ state: "started", stoppedBy: null });
    await pyro.execWorkspace({ workspaceId, command: "rm README" });
    expect(await pyro.resetWorkspace(workspaceId)).toMatchObject({
      state: "started",
      commandCount: 0,
      reset: { count: 1, snapshot: "baseline" },
    });
    expect(text((await pyro.readWorkspaceFile({ workspaceId, path: "README" })).data)).toBe("read me\n");
    expect(await pyro.resetWorkspace(workspaceId, { snapshot: "baseline" })).toMatchObject({
      reset: { count: 2 },
    });
    await expect(pyro.resetWorkspace(workspaceId, { snapshot: "before" })).rejects.toMatchObject({
      ...{ code: "SNAPSHOT_NOT_FOUND", message: `workspace ${workspaceId} has no snapshot "before"` },
      hint: expect.stringContaining("baseline") as string,
    });
    expect(await pyro.statusWorkspace(workspaceId)).toMatchObject({ state: "started", reset: { count: 2 } });
    expect(await pyro.deleteWorkspace("fix")).toEqual({ workspaceId });
    await expect(pyro.deleteWorkspace(workspaceId)).rejects.toMatchObject({ code: "WORKSPACE_NOT_FOUND" });
  });

  it("hands the failure of a start to whoever asked for it", async () => {
    const { workspaceId } = await seeded();
    await pyro.stopWorkspace(workspaceId);
    host.machines.before = (step) => {
      if (step === "open") throw new PyroError("DISK_FULL", "no room", { hint: "free some" });
    };
    await expect(pyro.startWorkspace(workspaceId)).rejects.toMatchObject({
      code: "DISK_FULL",
      hint: "free some",
    });
  });

  it("runs commands and reads what they wrote, by offset", async () => {
    const { workspaceId } = await seeded();
    const done = await pyro.execWorkspace({ workspaceId, command: "cat README; echo oops >&2; exit 3" });
    expect(done).toMatchObject({
      ...{ sequence: 1, state: "done", cwd: "/workspace", interrupted: null, networkRefusal: null },
      result: { environment, exitCode: 3, signal: null, isolation: "software", guestKernel: "6.1-fake" },
    });
    expect([text(done.output?.stdout.data), text(done.output?.stderr.data)]).toEqual(["read me\n", "oops\n"]);
    const window = await pyro.logsWorkspace({ workspaceId, sequence: 1, offset: 5, maxBytes: 2 });
    expect([window.output?.offset, text(window.output?.head), text(window.output?.tail)]).toEqual([
      5,
      "m",
      "\n",
    ]);
    expect(await pyro.listWorkspaceCommands(workspaceId)).toMatchObject([{ sequence: 1, output: null }]);
    await expect(pyro.logsWorkspace({ workspaceId, sequence: 9 })).rejects.toMatchObject({
      code: "SEQUENCE_NOT_FOUND",
    });
    await expect(pyro.execWorkspace({ workspaceId, command: "x", timeoutSeconds: 0 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("leaves a command running that takes longer than the caller waits; logs wait, cancel ends it", async () => {
    const { workspaceId } = await seeded();
    const started = await pyro.execWorkspace({ workspaceId, command: "echo begun; sleep 100", waitMs: 100 });
    expect(started).toMatchObject({ state: "running", result: null });
    expect(await pyro.statusWorkspace(workspaceId)).toMatchObject({
      runningCommandCount: 1,
      lastCommand: { sequence: 1 },
    });
    const waiting = pyro.logsWorkspace({ workspaceId, sequence: 1, waitMs: 30_000 });
    expect(await pyro.cancelWorkspaceCommand(workspaceId, 1)).toMatchObject({
      state: "done",
      result: { signal: "SIGKILL" },
    });
    expect(text((await waiting).output?.stdout.data)).toBe("begun\n");
  });

  it("streams a command: its number first, its output, its end; input and signals reach it", async () => {
    const { workspaceId } = await seeded();
    const events: ExecEvent[] = [];
    const cat = pyro.streamWorkspaceExec({ workspaceId, argv: ["cat"], stdin: "some input" });
    for await (const event of cat) events.push(event);
    expect(events.map(({ type }) => type)).toEqual(["started", "stdout", "result"]);
    const sleeping = pyro.streamWorkspaceExec({ workspaceId, command: "sleep 100" });
    for await (const event of sleeping) {
      if (event.type === "started") await sleeping.signal("SIGINT");
      else if (event.type === "result") expect(event.result.result).toMatchObject({ signal: "SIGINT" });
    }
  });

  it("leaves a command running whose stream is left", async () => {
    const { workspaceId } = await seeded();
    const lines = "i=0; while [ $i -lt 3000 ]; do echo a rather long line number $i; i=$((i+1)); done";
    for await (const event of pyro.streamWorkspaceExec({ workspaceId, command: lines }))
      if (event.type === "stdout") break;
    const done = await pyro.logsWorkspace({ workspaceId, sequence: 1, waitMs: 20_000 });
    expect(done).toMatchObject({ state: "done", result: { exitCode: 0 } });
    expect(text(done.output?.tail)).toContain("number 2999\n");
  });

  it("a command that cannot be started is an error, and no entry of the log", async () => {
    const { workspaceId } = await seeded();
    const stream = async (): Promise<void> => {
      for await (const _ of pyro.streamWorkspaceExec({ workspaceId, argv: ["/no/such"] }));
    };
    await expect(stream()).rejects.toMatchObject({ code: "COMMAND_NOT_FOUND" });
    expect(await pyro.listWorkspaceCommands(workspaceId)).toEqual([]);
  });

  it("says why a command was interrupted", async () => {
    const { workspaceId } = await seeded();
    const running = pyro.execWorkspace({ workspaceId, command: "sleep 100" });
    await vi.waitFor(() => expect(host.workspaces.find(workspaceId).commands.running).toHaveLength(1));
    await pyro.stopWorkspace(workspaceId);
    expect(await running).toMatchObject({
      state: "done",
      result: null,
      interrupted: "the workspace was stopped",
    });
  });
});
