import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { attachShell, type AttachedPiece, type Workspace } from "../../../src/workspace/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { NEVER, WorkspaceHost } from "../../fakes/workspace-host.js";

const READ = { cursor: 0, maxChars: 0, plain: false, waitForIdleMs: 0, waitMs: 0 };
const OPEN = { cwd: "", cols: 0, rows: 0, argv: [] };

describe("shells of a workspace", () => {
  let host: WorkspaceHost;
  let workspace: Workspace;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
    workspace = await host.create();
  });
  afterEach(async () => {
    await host[Symbol.asyncDispose]();
  });
  const open = async (request: Partial<typeof OPEN> = {}) =>
    await workspace.shells.open({ ...OPEN, ...request }, NEVER);
  const read = async (id: string, request: Partial<typeof READ> = {}) => {
    const { output, ...rest } = await workspace.shells.read(id, { ...READ, ...request }, NEVER);
    return { ...rest, output: Buffer.from(output).toString() };
  };
  const write = async (id: string, text: string) =>
    await workspace.shells.write(id, Buffer.from(text), NEVER);
  const shown = () => host.machines.machine.shells;

  it("are opened with a terminal's environment and the usual size, below /workspace", async () => {
    const shell = await open({ cwd: "src" });
    expect(shell).toMatchObject({ state: "running", cwd: "/workspace/src", cols: 120, rows: 30 });
    expect(shown().one.env).toContain("TERM=xterm-256color");
    expect(shown().one.env).toContain("HOME=/root");
  });

  it("are read by cursor, byte by byte, each byte once", async () => {
    const { shellId } = await open();
    await write(shellId, "hello\r");
    const first = await read(shellId, { maxChars: 5 });
    expect(first).toMatchObject({
      output: "$ hel",
      cursor: 0,
      nextCursor: 5,
      isTruncated: true,
      droppedBytes: 0,
    });
    const rest = await read(shellId, { cursor: first.nextCursor });
    expect(rest).toMatchObject({ output: "lo\r\n", nextCursor: 9, isTruncated: false });
    expect(await read(shellId, { cursor: 9 })).toMatchObject({ output: "", nextCursor: 9 });
    await expect(read(shellId, { cursor: 10 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(read(shellId, { cursor: 10, plain: true })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("say what is not kept any more", async () => {
    const { shellId } = await open();
    await write(shellId, "0123456789");
    shown().one.dropped = 6;
    expect(await read(shellId)).toMatchObject({ output: "456789", droppedBytes: 6, isTruncated: true });
    expect(await read(shellId, { plain: true })).toMatchObject({ droppedBytes: 6, isTruncated: true });
  });

  it("are shown as a person would see them, and only what came since is drawn again", async () => {
    const { shellId } = await open({ cols: 20, rows: 3 });
    shown().one.show("\r\x1b[Kone\r\ntwo\r\n");
    const first = await read(shellId, { plain: true, waitForIdleMs: 100 });
    expect(first).toMatchObject({ output: "one\ntwo\n", idle: "input", isTruncated: false });
    shown().one.show("three\r\nfour\r\n");
    const second = await read(shellId, { plain: true, cursor: first.nextCursor });
    expect(second).toMatchObject({ output: "one\ntwo\nthree\nfour\n", idle: undefined });
    expect(await read(shellId, { plain: true, cursor: second.nextCursor })).toMatchObject({
      output: "three\nfour\n",
    });
  });

  it("give the same picture after the daemon's death, sizes and all", async () => {
    const { shellId } = await open({ cols: 20, rows: 3 });
    shown().one.show("0123456789012345678901234\r\n");
    await workspace.shells.resize(shellId, 30, 5, NEVER);
    shown().one.show("0123456789012345678901234\r\n");
    const before = await read(shellId, { plain: true });
    await host.crash();
    workspace = host.workspaces.find(workspace.id);
    expect((await workspace.shells.list(NEVER)).map((shell) => [shell.shellId, shell.cols])).toEqual([
      [shellId, 30],
    ]);
    expect((await read(shellId, { plain: true })).output).toBe(before.output);
  });

  it("are drawn anew where too many others were looked at", async () => {
    const { shellId } = await open();
    await write(shellId, "first\r");
    for (let more = 0; more <= LIMITS.shellScreens; more += 1) {
      const { shellId: other } = await open();
      await read(other, { plain: true });
    }
    expect((await read(shellId, { plain: true })).output).toBe("$ first\n");
  });

  it("take several readers at once", async () => {
    const { shellId } = await open();
    await write(shellId, "abc\r");
    const all = await Promise.all(Array.from({ length: 20 }, () => read(shellId, { plain: true })));
    expect(new Set(all.map(({ output }) => output))).toEqual(new Set(["$ abc\n"]));
  });

  it("are named by a unique prefix", async () => {
    const { shellId } = await open();
    expect((await read(shellId.slice(0, 8))).shell.shellId).toBe(shellId);
    expect((await read(shellId.slice(3, 9))).shell.shellId).toBe(shellId);
    await open();
    await expect(read("sh-")).rejects.toMatchObject({ code: "SHELL_NOT_FOUND" });
    const [first, second] = [shellId, shown().one.spec.shellId].map((id) => id.slice(3));
    let same = 0;
    while (first?.[same] === second?.[same]) same += 1;
    if (same > 0)
      await expect(read(first?.slice(0, same) ?? "")).rejects.toMatchObject({ code: "AMBIGUOUS_REFERENCE" });
    await expect(read("nonsense")).rejects.toMatchObject({
      code: "SHELL_NOT_FOUND",
      hint: expect.stringContaining(shellId) as never,
    });
  });

  it("end with an exit code that is kept until they are closed", async () => {
    const { shellId } = await open();
    await write(shellId, "exit 3\r");
    expect((await read(shellId)).shell).toMatchObject({ state: "exited", exitCode: 3 });
    await expect(write(shellId, "x")).rejects.toMatchObject({ code: "SHELL_EXITED" });
    expect(await workspace.shells.close(shellId, NEVER)).toMatchObject({ state: "closed", exitCode: 3 });
    await expect(read(shellId)).rejects.toMatchObject({ code: "SHELL_NOT_FOUND" });
  });

  it("say how much of an input was taken by a program that does not read", async () => {
    const { shellId } = await open();
    shown().one.takes = 2;
    await expect(write(shellId, "abcd")).rejects.toMatchObject({
      code: "SHELL_INPUT_FULL",
      details: { accepted_bytes: 2 },
    });
    await expect(write(shellId, "x".repeat(LIMITS.shellInputBytes + 1))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("are signalled by short and long names, and by no others", async () => {
    const { shellId } = await open();
    for (const name of ["INT", "sigterm", "SIGRTMIN+1"]) await workspace.shells.signal(shellId, name, NEVER);
    expect(shown().one.signals).toEqual(["SIGINT", "SIGTERM", "SIGRTMIN+1"]);
    for (const name of ["", "SIG INT", "SIG"])
      await expect(workspace.shells.signal(shellId, name, NEVER)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
  });

  it("have sizes within bounds", async () => {
    const { shellId } = await open();
    await expect(workspace.shells.resize(shellId, 0, 10, NEVER)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(open({ cols: 1001 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await workspace.shells.resize(shellId, 1000, 500, NEVER)).toMatchObject({ cols: 1000, rows: 500 });
  });

  it("move the last activity when they are opened, written to, signalled and closed, never when they are read", async () => {
    const moved = async (work: () => Promise<unknown>): Promise<boolean> => {
      const before = workspace.record.lastActivityAtMs;
      host.nowMs += 1_000;
      await work();
      return workspace.record.lastActivityAtMs > before;
    };
    let shellId = "";
    expect(await moved(async () => ({ shellId } = await open()))).toBe(true);
    expect(await moved(() => write(shellId, "x"))).toBe(true);
    expect(await moved(() => workspace.shells.signal(shellId, "INT", NEVER))).toBe(true);
    expect(await moved(() => read(shellId, { plain: true }))).toBe(false);
    expect(await moved(() => read(shellId))).toBe(false);
    expect(await moved(() => workspace.shells.list(NEVER))).toBe(false);
    expect(await moved(() => workspace.shells.close(shellId, NEVER))).toBe(true);
  });

  it("end with stop, and a stopped workspace is not started to look for one", async () => {
    const { shellId } = await open();
    await workspace.stop("user").result;
    await expect(read(shellId)).rejects.toMatchObject({
      code: "SHELL_NOT_FOUND",
      message: expect.stringContaining("stopped") as never,
    });
    expect(await workspace.shells.list(NEVER)).toEqual([]);
    expect(host.machines.running.size).toBe(0);
    await workspace.start().result;
    await expect(read(shellId)).rejects.toMatchObject({ code: "SHELL_NOT_FOUND" });
  });

  it("end with reset", async () => {
    const { shellId } = await open();
    await read(shellId, { plain: true });
    await workspace.reset().result;
    await expect(read(shellId, { plain: true })).rejects.toMatchObject({ code: "SHELL_NOT_FOUND" });
  });

  it("start a workspace that stopped by itself when one is opened", async () => {
    await workspace.stop("ttl").result;
    expect(await open()).toMatchObject({ state: "running" });
  });

  it("of a suspended workspace are in its memory: one that suspended by itself goes on for them", async () => {
    const { shellId } = await open();
    await write(shellId, "before\r");
    await workspace.suspend("user").result;
    await expect(read(shellId)).rejects.toMatchObject({ code: "WORKSPACE_STOPPED" });
    await workspace.start().result;
    await workspace.suspend("idle").result;
    await write(shellId, "after\r");
    expect((await read(shellId)).output).toMatch(/before\r\n.*after\r\n/s);
  });

  describe("with a terminal attached", () => {
    /** What an attached terminal heard so far, and its end. */
    function listen(pieces: AsyncIterable<AttachedPiece>): { text: () => string; ended: Promise<unknown> } {
      let text = "";
      const ended = (async () => {
        for await (const piece of pieces) {
          if (piece.kind === "ended") return piece.shell;
          text += Buffer.from(piece.data).toString();
        }
        return undefined;
      })().catch((error: unknown) => error);
      return { text: () => text, ended };
    }
    const attach = async (id: string, signal = NEVER, cursor?: number) =>
      await attachShell(workspace, id, { cols: 40, rows: 10, cursor }, signal);

    it("show the picture, then what comes, and take the terminal's size", async () => {
      const { shellId } = await open();
      await write(shellId, "before\r");
      using attachment = await attach(shellId);
      expect(attachment.shell).toMatchObject({ cols: 40, rows: 10 });
      const heard = listen(attachment.output);
      await vi.waitFor(() => expect(heard.text()).toContain("$ before"));
      expect(heard.text()).toContain("\x1b[H\x1b[2J");
      await attachment.write(Buffer.from("typed\r"));
      await vi.waitFor(() => expect(heard.text().endsWith("typed\r\n")).toBe(true));
      await attachment.resize(50, 12);
      await write(shellId, "exit 0\r");
      expect(await heard.ended).toMatchObject({ state: "exited", cols: 50, exitCode: 0 });
    });

    it("hold the workspace beyond its TTL until the terminal leaves", async () => {
      const { shellId } = await open();
      const leave = new AbortController();
      const attachment = await attach(shellId, leave.signal);
      const heard = listen(attachment.output);
      host.nowMs += 3_600_000;
      host.workspaces.reap();
      await sleep(10);
      expect(workspace.record.state).toBe("started");
      leave.abort(new Error("left"));
      await heard.ended;
      attachment[Symbol.dispose]();
      host.workspaces.reap();
      await vi.waitFor(() => expect(workspace.record.state).toBe("stopped"));
    });

    it("count typing as activity, and not at each key", async () => {
      const { shellId } = await open();
      using attachment = await attach(shellId);
      host.nowMs += 1_000;
      await attachment.write(Buffer.from("a"));
      const first = workspace.record.lastActivityAtMs;
      expect(first).toBe(host.nowMs);
      host.nowMs += 1_000;
      await attachment.write(Buffer.from("b"));
      expect(workspace.record.lastActivityAtMs).toBe(first);
    });

    it("go on at a cursor without the picture, unless its bytes are gone", async () => {
      const { shellId } = await open();
      await write(shellId, "0123456789");
      const first = new AbortController();
      using going = await attach(shellId, first.signal, 7);
      const heard = listen(going.output);
      await vi.waitFor(() => expect(heard.text()).toBe("56789"));
      first.abort(new Error("left"));
      await heard.ended;
      shown().one.dropped = 9;
      const second = new AbortController();
      using again = await attach(shellId, second.signal, 7);
      const picture = listen(again.output);
      await vi.waitFor(() => expect(picture.text()).toContain("\x1b[2J"));
      second.abort(new Error("left"));
      await picture.ended;
    });

    it.each([
      ["suspended", async () => await workspace.suspend("user").result, /was suspended meanwhile$/],
      ["stopped", async () => await workspace.stop("user").result, /was stopped or reset meanwhile$/],
      ["reset", async () => await workspace.reset().result, /was stopped or reset meanwhile$/],
    ])("end with the reason when the workspace is %s", async (_, end, message) => {
      const { shellId } = await open();
      using attachment = await attach(shellId);
      const heard = listen(attachment.output);
      await vi.waitFor(() => expect(heard.text()).toContain("\x1b[2J"));
      await end();
      expect(await heard.ended).toMatchObject({
        code: "WORKSPACE_STOPPED",
        message: expect.stringMatching(message) as string,
      });
    });

    it("end with an error when the machine is lost", async () => {
      const { shellId } = await open();
      using attachment = await attach(shellId);
      const heard = listen(attachment.output);
      await vi.waitFor(() => expect(heard.text()).toContain("\x1b[2J"));
      host.machines.machine.lose();
      expect(await heard.ended).toMatchObject({ code: "VM_CRASHED" });
    });
  });
});
