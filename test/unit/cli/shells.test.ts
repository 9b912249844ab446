/** Shells from the outermost faces down to fake machines: command line, SDK, MCP. */
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { LocalTerminal } from "../../../src/cli/host.js";
import { TerminalModes } from "../../../src/cli/terminal-modes.js";
import { Pyro } from "../../../src/sdk/index.js";
import { cli, type CliRun, type CliSetup } from "../../fakes/cli-host.js";
import { mcpSession } from "../../fakes/mcp-client.js";
import { serveWorkspaces, WorkspaceHost } from "../../fakes/workspace-host.js";

let host: WorkspaceHost;
let served: Awaited<ReturnType<typeof serveWorkspaces>>;
let id: string;
beforeEach(async () => {
  host = await WorkspaceHost.start();
  served = await serveWorkspaces(host);
  ({ id } = await host.create({ name: "fix" }));
});
afterEach(async () => {
  await served[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

const shell = async (...args: string[]): Promise<CliRun> => await run(args);
const run = async (args: string[], setup: CliSetup = {}): Promise<CliRun> =>
  await cli(["--state-dir", served.stateDir, "workspace", "shell", ...args], setup);
const fields = ({ stdout }: CliRun): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;
const shown = () => host.machines.machine.shells;
const open = async (): Promise<string> => (await shell("open", "fix", "--id-only")).stdout.trim();

describe("on the command line", () => {
  it("a shell is opened, typed into, read, signalled, resized, listed and closed", async () => {
    const opened = fields(
      await shell("open", "fix", "--cwd", "src", "--cols", "100", "--rows", "20", "--json"),
    );
    expect(opened).toMatchObject({
      workspace_id: id,
      state: "running",
      cwd: "/workspace/src",
      cols: 100,
      rows: 20,
    });
    const shellId = String(opened["shell_id"]);
    await shell("write", "fix", shellId, "--input", "make test");
    await shell("write", "fix", shellId, "--input", "q", "--no-newline");
    expect((await shell("read", "fix", shellId, "--plain")).stdout).toBe("$ make test\nq\n");
    const raw = fields(await shell("read", "fix", shellId, "--cursor", "2", "--max-chars", "4", "--json"));
    expect(raw).toMatchObject({
      output: "make",
      cursor: 2,
      next_cursor: 6,
      truncated: true,
      exit_code: null,
    });
    const idle = fields(await shell("read", "fix", shellId, "--wait-for-idle-ms", "100", "--json"));
    expect(idle).toMatchObject({ idle: "input", dropped_bytes: 0 });
    await shell("signal", "fix", shellId, "--signal", "TERM");
    await shell("signal", "fix", shellId);
    expect(shown().one.signals).toEqual(["SIGTERM", "SIGINT"]);
    expect(fields(await shell("resize", "fix", shellId, "--rows", "44", "--json"))).toMatchObject({
      cols: 100,
      rows: 44,
    });
    expect((await shell("resize", "fix", shellId)).status).toBe(1);
    expect((await shell("list", "fix")).stdout).toContain(`${shellId}  running`);
    expect(fields(await shell("close", "fix", shellId, "--json"))).toMatchObject({
      closed: true,
      state: "closed",
      signal: "SIGHUP",
    });
    expect((await shell("list", "fix")).stdout).toBe("no shells\n");
    const gone = await shell("read", "fix", shellId);
    expect([gone.status, gone.stderr]).toEqual([1, expect.stringContaining("SHELL_NOT_FOUND")]);
  });

  it("what the guest wrote drives no terminal, unless one is attached", async () => {
    const shellId = await open();
    shown().one.show("\x1b[31mred\x07");
    const { stdout } = await run(["read", "fix", shellId], { tty: true });
    expect(stdout).not.toContain("\x1b");
    expect((await shell("read", "fix", shellId)).stdout).toContain("\x1b[31mred\x07");
  });

  it("a character that the bound cuts in two comes with the next read", async () => {
    const shellId = await open();
    shown().one.show("ä");
    const first = fields(await shell("read", "fix", shellId, "--max-chars", "3", "--json"));
    expect(first).toMatchObject({ output: "$ ", next_cursor: 2, truncated: true });
    expect(fields(await shell("read", "fix", shellId, "--cursor", "2", "--json"))).toMatchObject({
      output: "ä",
    });
  });
});

describe("attached", () => {
  /** A terminal of a person. */
  function terminal() {
    const input = new PassThrough();
    const raw: boolean[] = [];
    let resize: () => void = () => undefined;
    const size = { cols: 90, rows: 25 };
    const local: LocalTerminal = {
      input,
      setRaw: (isRaw) => raw.push(isRaw),
      size: () => size,
      onResize: (listener) => {
        resize = listener;
        return { [Symbol.dispose]: () => (resize = () => undefined) };
      },
    };
    const resized = (cols: number, rows: number): void => {
      Object.assign(size, { cols, rows });
      resize();
    };
    return { local, input, raw, resized };
  }

  it("a terminal shows the shell, types into it, and follows its size, until the key detaches it", async () => {
    const shellId = await open();
    const { local, input, raw, resized } = terminal();
    const { status, stdout, stderr } = await run(["attach", "fix", shellId], {
      terminal: local,
      tty: true,
      during: async (_send, text) => {
        await vi.waitFor(() => expect(text()).toContain("\x1b[2J"));
        expect(shown().one.info()).toMatchObject({ cols: 90, rows: 25 });
        input.write("ls\r");
        await vi.waitFor(() => expect(text()).toContain("ls\r\n"));
        resized(120, 40);
        await vi.waitFor(() => expect(shown().one.info()).toMatchObject({ cols: 120, rows: 40 }));
        shown().one.show("\x1b[?1049hfull");
        await vi.waitFor(() => expect(text()).toContain("full"));
        input.write("last\x1dnever typed");
      },
    });
    expect([status, raw]).toEqual([0, [true, false]]);
    expect(stderr).toContain("Ctrl-] detaches");
    expect(stderr).toContain("detached; the shell goes on");
    expect(stdout).toContain("\x1b[?1049l");
    await vi.waitFor(() => expect(shown().one.bytes.toString()).toContain("last"));
    expect(shown().one.bytes.toString()).not.toContain("never");
    expect(input.listenerCount("data")).toBe(0);
  });

  it("a terminal is given back when the shell ends", async () => {
    const shellId = await open();
    const { local, raw } = terminal();
    const { status, stderr } = await run(["attach", "fix", shellId, "--detach-key", "none"], {
      terminal: local,
      during: async (_send, text) => {
        await vi.waitFor(() => expect(text()).toContain("\x1b[2J"));
        shown().one.end({ exitCode: 5 });
      },
    });
    expect([status, raw, stderr]).toEqual([
      0,
      [true, false],
      expect.stringContaining("has ended: exited, exit 5"),
    ]);
  });

  it("a terminal is given back when the command is told to end", async () => {
    const shellId = await open();
    const { local, raw } = terminal();
    const { status } = await run(["attach", "fix", shellId], {
      terminal: local,
      during: async (send, text) => {
        await vi.waitFor(() => expect(text()).toContain("\x1b[2J"));
        send("SIGTERM");
      },
    });
    expect([status, raw]).toEqual([143, [true, false]]);
  });

  it("a shell that is not there leaves the terminal alone", async () => {
    const { local, raw } = terminal();
    const { status, stderr } = await run(["attach", "fix", "sh-0000000000000000"], { terminal: local });
    expect([status, raw, stderr]).toEqual([1, [], expect.stringContaining("SHELL_NOT_FOUND")]);
  });

  it("without a terminal it says what to do instead", async () => {
    const { status, stderr } = await run(["attach", "fix", "x"]);
    expect([status, stderr]).toEqual([2, expect.stringContaining("shell read")]);
    expect((await run(["attach", "fix", "x", "--json"], { terminal: terminal().local })).status).toBe(2);
    expect(
      (await run(["attach", "fix", "x", "--detach-key", "F1"], { terminal: terminal().local })).status,
    ).toBe(2);
  });
});

describe("what a program set on a terminal", () => {
  it("is undone, the other screen only where it was entered", () => {
    const modes = new TerminalModes();
    expect(modes.reset()).not.toContain("1049");
    modes.saw(Buffer.from("x\x1b[?10"));
    modes.saw(Buffer.from("49hy"));
    expect(modes.reset()).toContain("\x1b[?1049l");
    modes.saw(Buffer.from("\x1b[?1049l"));
    expect(modes.reset()).not.toContain("1049");
    expect(modes.reset()).toContain("\x1b[?25h");
  });
});

describe("in the SDK", () => {
  it("a shell is an object that is closed with its scope", async () => {
    await using pyro = new Pyro({ stateDir: served.stateDir });
    {
      await using opened = await pyro.shell({ workspaceId: "fix", argv: ["python3"] });
      await opened.write("1+1\r");
      expect((await opened.read()).output).toBe("$ 1+1\r\n");
      await opened.write("2\r");
      expect((await opened.read()).output).toBe("2\r\n");
      await opened.signal("INT");
      expect(await opened.resize({ cols: 81, rows: 25 })).toMatchObject({ cols: 81, argv: ["python3"] });
      expect((await pyro.listShells("fix")).map((record) => record.shellId)).toEqual([opened.shellId]);
    }
    expect(await pyro.listShells("fix")).toEqual([]);
    const opened = await pyro.shell({ workspaceId: "fix" });
    await opened.close();
    await opened[Symbol.asyncDispose]();
    await expect(pyro.readShell({ workspaceId: "fix", shellId: "x", cursor: -1 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("through MCP", () => {
  const connect = () => mcpSession({ mode: "review-eval", noProjectSource: true, stateDir: served.stateDir });

  it("a shell is opened, typed into, read, signalled and closed", async () => {
    await using session = await connect();
    const opened = await session.tool("shell_open", { workspace_id: "fix" });
    expect(opened.record).toMatchObject({ workspace_id: id, state: "running", cols: 120, rows: 30 });
    const place = { workspace_id: "fix", shell_id: opened.record["shell_id"] };
    await session.tool("shell_write", { ...place, input: "echo hi" });
    await session.tool("shell_write", { ...place, input: "\u0003", append_newline: false });
    const read = await session.tool("shell_read", { ...place, plain: true, wait_for_idle_ms: 100 });
    expect(read.texts[0]).toMatch(/^running, waits for input\nscreen: /);
    expect(read.texts[0]).toContain("next: shell_read(");
    expect(read.texts[1]).toBe("$ echo hi\n");
    expect(read.fields).toMatchObject({
      ...place,
      workspace_id: id,
      output: "$ echo hi\n",
      next_cursor: 12,
      truncated: false,
    });
    const raw = await session.tool("shell_read", { ...place, cursor: 2 });
    expect(raw.texts[0]).toMatch(/^running\noutput: 12 bytes; 10 of them from byte 2 on below\n/);
    expect(raw.texts[1]).toBe("echo hi\n");
    expect((await session.tool("shell_signal", place)).record).toMatchObject({ state: "running" });
    expect(shown().one.signals).toEqual(["SIGINT"]);
    await session.tool("shell_write", { ...place, input: "exit 4" });
    expect((await session.tool("shell_read", place)).texts[0]).toMatch(/^exit 4\n/);
    expect((await session.tool("shell_close", place)).record).toMatchObject({
      closed: true,
      state: "closed",
    });
    const gone = await session.tool("shell_read", place);
    expect([gone.isError, gone.texts[0]]).toEqual([true, expect.stringContaining("SHELL_NOT_FOUND")]);
    expect(gone.texts[0]).not.toContain("`pyro");
  });

  it("long output is bounded, in order, and told how to go on", async () => {
    await using session = await connect();
    const { record } = await session.tool("shell_open", { workspace_id: "fix" });
    const place = { workspace_id: "fix", shell_id: record["shell_id"] };
    shown().one.show(Array.from({ length: 3000 }, (_, at) => `line ${at}\r\n`).join(""));
    const plain = await session.tool("shell_read", { ...place, plain: true });
    expect(Buffer.byteLength(plain.texts.join(""))).toBeLessThanOrEqual(10_000);
    expect(plain.texts[1]).toMatch(/line 2999\n$/);
    expect(plain.texts[0]).toContain("older lines are left out");
    let cursor = 0;
    let all = "";
    for (let calls = 0; calls < 20 && cursor < shown().one.bytes.length; calls += 1) {
      const raw = await session.tool("shell_read", { ...place, cursor });
      expect(Buffer.byteLength(raw.texts.join(""))).toBeLessThanOrEqual(10_100);
      all += (raw.texts[1] ?? "").replace(/^/, "");
      cursor = Number(raw.fields["next_cursor"]);
    }
    expect(all).toContain("line 2999\n");
  });
});
