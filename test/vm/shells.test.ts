/** Shells in a real machine: what a person would see, beside tmux; keys, signals, sizes; ends of all kinds. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Pyro } from "../../src/sdk/index.js";
import { PYRO, processes, testState, type TestState } from "./support.js";

const execute = promisify(execFile);
const WORKSPACE = "shells";

let state: TestState;
let pyro: Pyro;
let scratch: string;

beforeAll(async () => {
  await requireTmux();
  scratch = await mkdtemp(join(tmpdir(), "pyro-shells-"));
  const seed = join(scratch, "seed");
  await bringVim(seed);
  await writeFile(
    join(seed, "text.txt"),
    Array.from({ length: 200 }, (_, at) => `line ${at} of the text\n`).join(""),
  );
  await writeFile(
    join(seed, "bar.py"),
    `import sys, time
for done in range(0, 181, 20):
    sys.stdout.write("\\r[" + "#" * done + "." * (180 - done) + "] %3d%%" % (done * 100 // 180))
    sys.stdout.flush()
    time.sleep(0.01)
print()
print("done")
`,
  );
  state = await testState();
  process.env["PYRO_POOL"] = "0";
  const built = join(import.meta.dirname, "../../dist/index.js");
  const sdk = (await import(pathToFileURL(built).href)) as { Pyro: typeof Pyro };
  pyro = new sdk.Pyro({ stateDir: state.path });
  const source = { kind: "path", path: seed } as const;
  await pyro.createWorkspace({ environment: "debian:12", name: WORKSPACE, source, ttlSeconds: 3600 });
});

afterAll(async () => {
  await execute("tmux", ["-L", SOCKET, "kill-server"]).catch(() => undefined);
  await pyro.deleteWorkspace(WORKSPACE);
  await pyro[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
  expect((await processes()).filter(({ line }) => line.includes(SOCKET))).toEqual([]);
});

// ------------------------------------------------------------------ what there is to compare with

const SOCKET = `pyro-shells-${process.pid}`;
const tmux = async (...args: string[]): Promise<string> =>
  (
    await execute("tmux", ["-L", SOCKET, "-f", "/dev/null", ...args], {
      env: { ...process.env, LC_ALL: "C.UTF-8", TERM: "xterm-256color" },
    })
  ).stdout;

/** Where there is none, root gets it; who is not root has to. */
async function requireTmux(): Promise<void> {
  const found = await execute("tmux", ["-V"]).catch(() => undefined);
  if (found !== undefined) return;
  if (process.getuid?.() !== 0) throw new Error("these tests compare with tmux: install it");
  await execute("apt-get", ["install", "-y", "--no-install-recommends", "tmux"], { timeout: 120_000 });
}

/** debian:12 has no editor of that kind: Debian's own small one, unpacked. */
async function bringVim(seed: string): Promise<void> {
  const packages = join(scratch, "packages");
  await mkdir(packages);
  await mkdir(join(seed, "vim"), { recursive: true });
  const fetch = ["download", "-qq", "-o", "APT::Sandbox::User=root", "vim-tiny"];
  const run = async (...args: string[]): Promise<unknown> =>
    await execute("apt-get", args, { cwd: packages, timeout: 120_000 });
  await run(...fetch).catch(async () => {
    await run("update", "-qq");
    await run(...fetch);
  });
  for (const name of await readdir(packages))
    await execute("dpkg-deb", ["-x", join(packages, name), join(seed, "vim")]);
}

let panes = 0;

/** What tmux shows of the same bytes in a pane of the same size; `all` with what scrolled off. */
async function captured(bytes: Uint8Array, cols: number, rows: number, all: boolean) {
  const file = join(scratch, `bytes-${panes}`);
  await writeFile(file, bytes);
  const name = `pane${(panes += 1)}`;
  const show = `stty raw -echo; cat ${file}; exec sleep 600`;
  await tmux("new-session", "-d", "-s", name, "-x", String(cols), "-y", String(rows), show);
  return async (): Promise<string> => {
    const shown = await tmux("capture-pane", "-p", "-t", name, ...(all ? ["-S", "-"] : []));
    return `${shown
      .split("\n")
      .map((line) => line.trimEnd())
      .join("\n")
      .trimEnd()}\n`;
  };
}

const open = async (options: { cols?: number; rows?: number; argv?: string[] } = {}) =>
  await pyro.shell({ workspaceId: WORKSPACE, cols: 80, rows: 24, ...options });
type Shell = Awaited<ReturnType<typeof open>>;

/** Long enough for a program that starts on a slow machine; what waits for input is not waited for. */
const LONG_MS = 10_000;
/** For what never waits for input alone. */
const QUIET_MS = 1_500;
const PATIENT = { timeout: 20_000, interval: 50 };

/** Reads from the beginning once the shell waits for input, or was quiet for so long. */
const settle = async (shell: Shell, waitForIdleMs = LONG_MS) =>
  await pyro.readShell({ workspaceId: WORKSPACE, shellId: shell.shellId, plain: true, waitForIdleMs });
const enter = async (shell: Shell, text: string): Promise<void> => {
  await shell.write(`${text}\r`);
};

/** The plain read and tmux agree on what was shown until now. */
async function agrees(shell: Shell, all: boolean): Promise<string> {
  const place = { workspaceId: WORKSPACE, shellId: shell.shellId };
  const raw = await pyro.readShell({ ...place });
  const bytes = [raw.data];
  let at = raw.nextCursor;
  for (let more = raw; more.truncated && more.data.length > 0; at = more.nextCursor) {
    more = await pyro.readShell({ ...place, cursor: at });
    bytes.push(more.data);
  }
  const plain = await pyro.readShell({ ...place, plain: true });
  // A program that draws by itself has drawn again meanwhile.
  if (plain.nextCursor !== at) return await agrees(shell, all);
  const seen = await captured(Buffer.concat(bytes), raw.cols, raw.rows, all);
  await vi.waitFor(async () => expect(await seen()).toBe(plain.output), PATIENT);
  return plain.output;
}

describe("a plain read equals what tmux shows of", () => {
  it("an editor", async () => {
    await using shell = await open();
    await settle(shell);
    await enter(shell, "VIMRUNTIME=/nowhere vim/usr/bin/vim.tiny -u NONE text.txt");
    await vi.waitFor(
      async () => expect((await settle(shell, QUIET_MS)).output).toContain("line 5 of"),
      PATIENT,
    );
    await shell.write("/line 100\r");
    await settle(shell, QUIET_MS);
    await shell.write("Onew words here\x1b");
    expect((await settle(shell, QUIET_MS)).output).toContain("new words here\n");
    expect(await agrees(shell, false)).toContain("line 100 of the text");
    await shell.write(":q!\r");
    await settle(shell);
  });

  it("a table of processes that draws itself anew", async () => {
    await using shell = await open({ cols: 100, rows: 30 });
    await settle(shell);
    await enter(shell, "top -d 30");
    await vi.waitFor(
      async () => expect((await settle(shell, QUIET_MS)).output).toContain("PID USER"),
      PATIENT,
    );
    expect(await agrees(shell, false)).toMatch(/^top - /);
    await shell.write("q");
    expect((await settle(shell)).idle).toBe("input");
  });

  it("a pager", async () => {
    await using shell = await open();
    await settle(shell);
    await enter(shell, "less text.txt");
    expect((await settle(shell)).idle).toBe("input");
    await shell.write("  /line 77\r");
    await settle(shell);
    expect(await agrees(shell, false)).toContain("line 77 of");
    await shell.write("q");
    await settle(shell);
  });

  it("a Python prompt with its own editing and history", async () => {
    await using shell = await open();
    await settle(shell);
    await enter(shell, "python3 -q");
    expect((await settle(shell)).idle).toBe("input");
    await enter(shell, "sum(range(10))");
    await settle(shell);
    // The last line again, its end changed.
    await shell.write("\x1b[A\x7f\x7f0 + 1))\r");
    const { output } = await settle(shell);
    expect(output).toContain("45\n");
    expect(await agrees(shell, true)).toContain(">>> sum(range(100 + 1))\n");
    await shell.write("\x04");
    await settle(shell);
  });

  it("a question for a password, which is not shown", async () => {
    await using shell = await open();
    await settle(shell);
    await enter(shell, `python3 -c 'import getpass; print(len(getpass.getpass("Password for you: ")))'`);
    expect(await settle(shell)).toMatchObject({
      idle: "input",
      output: expect.stringMatching(/Password for you:\n$/) as never,
    });
    await enter(shell, "xyzzy42");
    const { output } = await settle(shell);
    expect(output).not.toContain("xyzzy42");
    expect(await agrees(shell, true)).toContain("\n7\n");
  });

  it("a progress bar of 200 columns", async () => {
    await using shell = await open({ cols: 200 });
    await settle(shell);
    await enter(shell, "python3 bar.py");
    expect((await settle(shell)).output).toContain(`[${"#".repeat(180)}] 100%\ndone\n`);
    await agrees(shell, true);
  });
});

describe("a shell", () => {
  it("takes a storm of sizes, and its program knows the last", async () => {
    await using shell = await open();
    await settle(shell);
    for (let round = 0; round < 10; round += 1)
      await Promise.all(
        Array.from({ length: 10 }, (_, at) => shell.resize({ cols: 60 + at, rows: 20 + round })),
      );
    await shell.resize({ cols: 132, rows: 43 });
    await enter(shell, "stty size");
    expect((await settle(shell)).output).toContain("43 132\n");
  });

  it("obeys the keys for interrupt, stop and end", async () => {
    await using shell = await open();
    await settle(shell);
    await enter(shell, "sleep 1000");
    expect((await settle(shell, 300)).idle).toBe("quiet");
    await shell.write("\x03");
    expect((await settle(shell)).idle).toBe("input");
    await enter(shell, "echo interrupted $?; sleep 1001");
    await settle(shell, 300);
    await shell.write("\x1a");
    expect((await settle(shell)).output).toMatch(/interrupted 130\n[\s\S]*Stopped/);
    await enter(shell, "kill %1; cat");
    await settle(shell);
    await enter(shell, "through cat");
    await shell.write("\x04");
    expect((await settle(shell)).output).toContain("through cat\nthrough cat\n");
    await shell.signal("INT");
    await enter(shell, "exit 7");
    await vi.waitFor(
      async () => expect(await shell.read()).toMatchObject({ state: "exited", exitCode: 7 }),
      PATIENT,
    );
  });

  it("is closed with its jobs, and with what ignores the hang-up", async () => {
    const shell = await open();
    await settle(shell);
    await enter(
      shell,
      "sleep 7771 & nohup setsid sleep 7772 >/dev/null 2>&1 & trap '' HUP; sh -c \"trap '' HUP; sleep 7773\"",
    );
    await settle(shell, 500);
    const running = await pyro.execWorkspace({ workspaceId: WORKSPACE, command: "pgrep -c -x sleep" });
    expect(
      Buffer.from(running.output?.stdout.data ?? [])
        .toString()
        .trim(),
    ).toBe("3");
    expect(await shell.close()).toMatchObject({ state: "closed" });
    expect(
      (await pyro.execWorkspace({ workspaceId: WORKSPACE, command: "pgrep -x sleep" })).result?.exitCode,
    ).toBe(1);
    await expect(shell.read()).rejects.toMatchObject({ code: "SHELL_NOT_FOUND" });
  });

  it("carries bytes of any kind both ways", async () => {
    await using shell = await open({
      argv: [
        "sh",
        "-c",
        "stty raw -echo; echo ready; head -c 256 | od -An -v -tx1 | tr -d ' \\n'; printf '\\377\\000\\033'",
      ],
    });
    await vi.waitFor(
      async () => expect((await shell.read({ cursor: 0 })).output).toContain("ready"),
      PATIENT,
    );
    const all = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
    await shell.write(all);
    await vi.waitFor(
      async () => expect(await shell.read({ cursor: 0 })).toMatchObject({ state: "exited" }),
      PATIENT,
    );
    const { data } = await shell.read({ cursor: 0 });
    expect(Buffer.from(data).toString("latin1")).toBe(`ready\n${all.toString("hex")}\u00ff\u0000\u001b`);
  });

  it("is one of a hundred", async () => {
    const shells = await Promise.all(Array.from({ length: 100 }, () => open({ argv: ["cat"] })));
    await Promise.all(shells.map((shell, at) => enter(shell, `shell ${at}`)));
    await Promise.all(
      shells.map(
        async (shell, at) =>
          await vi.waitFor(
            async () => expect((await settle(shell)).output).toBe(`shell ${at}\nshell ${at}\n`),
            PATIENT,
          ),
      ),
    );
    await Promise.all(shells.map((shell) => shell.close()));
    expect(await pyro.listShells(WORKSPACE)).toEqual([]);
  });

  it("goes on when a reader vanishes, and when the daemon is killed", async () => {
    await using shell = await open();
    await settle(shell);
    const leave = new AbortController();
    const vanished = (async () => {
      for await (const event of shell.attach({}, { signal: leave.signal }))
        if (event.type === "output") leave.abort();
    })();
    await expect(vanished).rejects.toThrow();
    const heard: string[] = [];
    const follow = new AbortController();
    const following = (async () => {
      for await (const event of shell.attach({}, { signal: follow.signal }))
        heard.push(event.type === "output" ? Buffer.from(event.data).toString() : `<${event.type}>`);
    })().catch(() => undefined);
    await vi.waitFor(() => expect(heard).toContain("<attached>"), PATIENT);
    await enter(shell, "for i in 1 2 3 4 5 6 7 8; do echo tick $i; sleep 0.3; done; echo all o''ver");
    await vi.waitFor(() => expect(heard.join("")).toContain("tick 2\r\n"), PATIENT);
    process.kill((await pyro.daemonStatus()).pid ?? 0, "SIGKILL");
    await vi.waitFor(() => expect(heard.join("")).toContain("all over\r\n"), PATIENT);
    const text = heard.join("");
    expect(text).toContain("<reconnecting>");
    expect(text.replaceAll("<reconnecting>", "").match(/tick \d/g)).toEqual(
      Array.from({ length: 8 }, (_, at) => `tick ${at + 1}`),
    );
    expect((await settle(shell)).output).toContain("tick 8\nall over\n");
    follow.abort();
    await following;
  });
});

describe("attached to a person's terminal", () => {
  it("follows it, shares it, and leaves it as it was, however it is left", async () => {
    await using shell = await open();
    await settle(shell);
    const attach = `${process.execPath} ${PYRO} --state-dir ${state.path} workspace shell attach ${WORKSPACE} ${shell.shellId}`;
    const pid = join(scratch, "attach-pid");
    const line = `sh -c 'echo $$ > ${pid}; exec ${attach}'; echo status $?; stty -a | grep -o -w -- '-*icanon\\|-*echo'; exec sleep 600`;
    const size = async () => {
      const all = await pyro.listShells(WORKSPACE);
      return all
        .filter(({ shellId }) => shellId === shell.shellId)
        .map(({ cols, rows }) => `${cols}x${rows}`);
    };
    const seen = async (name: string): Promise<string> =>
      await tmux("capture-pane", "-p", "-S", "-", "-t", name);
    for (const how of ["key", "term"] as const) {
      await tmux("new-session", "-d", "-s", how, "-x", "90", "-y", "20", line);
      await vi.waitFor(async () => expect(await size()).toEqual(["90x20"]), PATIENT);
      await tmux("send-keys", "-t", how, `echo typed by ${how}`, "Enter");
      await vi.waitFor(async () => expect(await seen(how)).toContain(`\ntyped by ${how}\n`), PATIENT);
      await enter(shell, `echo the other one, ${how}`);
      await vi.waitFor(async () => expect(await seen(how)).toContain(`\nthe other one, ${how}\n`), PATIENT);
      await tmux("resize-window", "-t", how, "-x", "100", "-y", "25");
      await vi.waitFor(async () => expect(await size()).toEqual(["100x25"]), PATIENT);
      if (how === "key") await tmux("send-keys", "-t", how, "C-]");
      else await execute("sh", ["-c", `kill -TERM $(cat ${pid})`]);
      const status = how === "key" ? 0 : 143;
      await vi.waitFor(
        async () => expect(await seen(how)).toContain(`status ${status}\nicanon\necho\n`),
        PATIENT,
      );
      await tmux("kill-session", "-t", how);
      await shell.resize({ cols: 80, rows: 24 });
    }
    expect(await shell.read()).toMatchObject({ state: "running" });
  });
});
