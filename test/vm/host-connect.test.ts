import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BIN, HOMES, installHosts, NODE_BIN } from "../chat-hosts/installed.js";
import { httpServer } from "./mcp-http-server.js";
import { json, leftovers, PYRO, pyro, type Result } from "./support.js";

// The real hosts, which need a newer Node than pyro does. No machine is started: the servers only list their tools.
const execute = promisify(execFile);

const NAMES = ["claude-code", "codex", "opencode"] as const;
type Name = (typeof NAMES)[number];
const FILES: Record<Name, string> = {
  "claude-code": ".claude.json",
  codex: ".codex/config.toml",
  opencode: ".config/opencode/opencode.jsonc",
};
const CODEX = `# mine\nmodel = "x"   # a comment\n\n[mcp_servers.other]   # other\ncommand = "true"  # t\nargs = [\n  "a", # inner\n]\nenabled = false\n\n# at the end\n[profiles.z]\nmodel = "y"\n`;
const OPENCODE = `{\n  // mine\n  "$schema": "https://opencode.ai/config.json",\n  "mcp": {\n    "other": { "type":"local", "enabled":false, "command":["true"] }, // other\n  },\n  /* at the end */\n}\n`;

describe("pyro host with the real hosts", () => {
  let home: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    // Never skipped: it fails where the hosts cannot be had.
    expect(await installHosts()).toBeUndefined();
    await mkdir(HOMES, { recursive: true });
    home = await mkdtemp(join(HOMES, "h-"));
    env = {
      PATH: `${NODE_BIN}:${BIN}:${process.env["PATH"] ?? ""}`,
      HOME: home,
      ANTHROPIC_API_KEY: "sk-ant-none",
      ANTHROPIC_BASE_URL: "http://127.0.0.1:9",
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
      ...{ DISABLE_AUTOUPDATER: "1", DISABLE_TELEMETRY: "1", DISABLE_ERROR_REPORTING: "1" },
      ...{
        OPENCODE_DISABLE_AUTOUPDATE: "1",
        OPENCODE_DISABLE_MODELS_FETCH: "1",
        OPENCODE_DISABLE_LSP_DOWNLOAD: "1",
      },
    };
    await write("codex", CODEX);
    await write("opencode", OPENCODE);
    await client("claude", "mcp", "add", "--scope", "user", "other", "--", "true");
    // The first look at its servers leaves something of its own in the file.
    await client("claude", "mcp", "list");
  });
  afterAll(async () => {
    const left = (await leftovers(home)).filter((what) => what.startsWith("process"));
    await rm(home, { recursive: true, force: true });
    expect(left).toEqual([]);
  });

  const path = (name: Name): string => join(home, FILES[name]);
  const read = (name: Name): Promise<string> => readFile(path(name), "utf8");
  const write = async (name: Name, text: string): Promise<void> => {
    await mkdir(dirname(path(name)), { recursive: true });
    await writeFile(path(name), text);
  };
  const client = async (program: string, ...args: string[]): Promise<string> => {
    const running = execute(join(BIN, program), args, { timeout: 120_000, cwd: home, env });
    running.child.stdin?.end();
    return (await running).stdout;
  };
  const host = (...args: string[]): Promise<Result> => pyro(["host", ...args], { env });
  /** State of each host, and the status of the command. */
  const doctor = async (...names: Name[]): Promise<Record<string, unknown>> => {
    const result = await host("doctor", ...names, "--json");
    const { hosts } = json(result) as { hosts: { host: string; state: string }[] };
    return { code: result.code, ...Object.fromEntries(hosts.map(({ host, state }) => [host, state])) };
  };
  const ALL_CONNECTED = { code: 0, "claude-code": "connected", codex: "connected", opencode: "connected" };

  /** What stands in a file beside our entry, byte for byte; Claude Code writes its own by itself. */
  const others = (name: Name, text: string): string => {
    if (name === "codex") return text.replace(/\n\[mcp_servers\.pyro\]\n(?:[a-z_]+ = .*\n)*$/, "");
    if (name === "opencode") return text.replace(/\n {4}"pyro": \{[^}]*\},/, "");
    const { mcpServers, ...rest } = JSON.parse(text) as { mcpServers: Record<string, unknown> };
    const { pyro: _ours, ...servers } = mcpServers;
    return JSON.stringify({ ...rest, mcpServers: servers });
  };

  it("connects each, and each shows the entry by its own command", async () => {
    const before = {
      "claude-code": others("claude-code", await read("claude-code")),
      codex: CODEX,
      opencode: OPENCODE,
    };
    expect(await doctor()).toEqual({
      code: 0,
      ...Object.fromEntries(NAMES.map((name) => [name, "not-connected"])),
    });
    for (const name of NAMES) {
      expect(json(await host("connect", name, "--json"))).toMatchObject({
        ...{ host: name, changed: true, config_path: path(name), scope: "user" },
        command: [PYRO, "mcp", "serve"],
      });
      expect(json(await host("connect", name, "--json"))).toMatchObject({ changed: false });
    }
    expect(await client("claude", "mcp", "list")).toMatch(/pyro: .*Connected/);
    expect(await client("codex", "mcp", "list")).toMatch(/^pyro .*mcp serve .*enabled/m);
    expect(await client("opencode", "mcp", "list")).toMatch(/pyro .*connected/);
    expect(await doctor()).toEqual(ALL_CONNECTED);
    for (const name of NAMES) expect(others(name, await read(name))).toBe(before[name]);
  });

  it.each([
    ["a program that is gone", PYRO, "/gone/bin/pyro"],
    ["options that do not exist", '"serve"', '"serve", "--profle", "--profile", "nope", "stray"'],
  ])("doctor sees %s, and repair brings back what was there", async (_, good, bad) => {
    const connected = await Promise.all(NAMES.map(read));
    for (const [index, name] of NAMES.entries()) {
      // Of others' entries none has these words.
      const drifted = (connected[index] ?? "").replace(good, bad);
      expect(drifted).not.toBe(connected[index]);
      await write(name, drifted);
    }
    expect(await doctor()).toEqual({
      code: 1,
      "claude-code": "drifted",
      codex: "drifted",
      opencode: "drifted",
    });
    for (const name of NAMES) expect((await host("repair", name)).code).toBe(0);
    expect(await doctor()).toEqual(ALL_CONNECTED);
    expect(await Promise.all(NAMES.map(read))).toEqual(connected);
  });

  it("an entry that was removed is not connected, and one that its host cannot use is mended", async () => {
    const connected = await Promise.all(NAMES.map(read));
    await write("codex", (connected[1] ?? "").replace(JSON.stringify(PYRO), "3"));
    await write("opencode", (connected[2] ?? "").replace('"enabled": true', '"enabled": false'));
    await client("claude", "mcp", "remove", "--scope", "user", "pyro");
    expect(await doctor()).toEqual({
      code: 1,
      "claude-code": "not-connected",
      codex: "drifted",
      opencode: "drifted",
    });
    expect((await host("repair", "claude-code")).stderr).toContain("pyro host connect claude-code");
    expect((await host("connect", "claude-code")).code).toBe(0);
    for (const name of ["codex", "opencode"]) expect((await host("repair", name)).code).toBe(0);
    expect(await doctor()).toEqual(ALL_CONNECTED);
    expect(await Promise.all(NAMES.map(read))).toEqual(connected);
  });

  it("an entry of this project alone is found and mended in its place", async () => {
    const project = join(home, "project");
    await execute("git", ["init", "-q", project]);
    const run = (...args: string[]) =>
      execute(process.execPath, [PYRO, "host", ...args], { cwd: project, env, timeout: 60_000 });
    await execute(
      join(BIN, "claude"),
      ["mcp", "add", "pyro", "--", "/gone/pyro", "mcp", "serve", "--mode", "inspect"],
      {
        ...{ cwd: project, env },
      },
    );
    await run("connect", "opencode", "--output", "opencode.json");
    await expect(run("doctor", "claude-code")).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/drifted\n.*\.claude\.json \(local\)/) as string,
    });
    await run("repair", "claude-code");
    const { stdout } = await run("doctor", "claude-code", "opencode");
    expect(stdout).toMatch(/\(local\)\n {2}entry .*mcp serve --mode inspect\n/);
    expect(stdout).toContain(`project  ${project} (Git checkout`);
    expect(stdout).toMatch(/opencode\.json \(project\)/);
  });

  it("a file that its host cannot read is left as it is, with the place and the fix", async () => {
    const connected = await Promise.all(NAMES.map(read));
    const broken = {
      "claude-code": '{\n  "mcpServers": {\n',
      codex: 'model = "x\n',
      opencode: '{\n  "mcp": {} "x": 1\n}\n',
    };
    const places = { "claude-code": ":3:1: ", codex: ":1:", opencode: ":2:13: " };
    for (const name of NAMES) await write(name, broken[name]);
    for (const name of NAMES)
      for (const verb of ["connect", "repair"]) {
        const { code, stderr } = await host(verb, name);
        expect(code).toBe(1);
        expect(stderr).toContain(`HOST_CONFIG_INVALID: ${path(name)}${places[name]}`);
        expect(stderr).toMatch(/hint: mend line \d+ of .*, column \d+: .*, then try again/);
      }
    expect(await doctor()).toEqual({
      code: 1,
      ...Object.fromEntries(NAMES.map((name) => [name, "config-invalid"])),
    });
    expect(await Promise.all(NAMES.map(read))).toEqual(NAMES.map((name) => broken[name]));
    for (const [index, name] of NAMES.entries()) await write(name, connected[index] ?? "");
  });

  it("leads each to a server over HTTP, and each reaches it by its own command", async () => {
    for (const name of NAMES)
      await write(name, { "claude-code": "{}\n", codex: CODEX, opencode: OPENCODE }[name]);
    await chmod(path("codex"), 0o600);
    await using server = await httpServer({ stateDir: join(home, "state"), cwd: home });
    const tokenFile = join(home, "state", "mcp-http-token");
    const given = ["--url", server.url, "--token-file", tokenFile];
    for (const name of NAMES) {
      const connected = json(await host("connect", name, ...given, "--json"));
      expect(connected).toMatchObject({ host: name, changed: true, url: server.url, scope: "user" });
      expect(json(await host("connect", name, ...given, "--json"))).toMatchObject({ changed: false });
    }
    expect(await client("claude", "mcp", "list")).toMatch(/pyro: http.*Connected/);
    expect(await client("codex", "mcp", "list")).toMatch(/^pyro .*\/mcp .*enabled +Bearer token/m);
    expect(await client("opencode", "mcp", "list")).toMatch(/pyro .*connected/);
    expect(await doctor()).toEqual(ALL_CONNECTED);
    expect(others("codex", await read("codex"))).toBe(CODEX);

    // Another token than the server's: it and the hosts say so, and repair brings the right one.
    const wrong = join(home, "wrong-token");
    await writeFile(wrong, "a-token-that-no-server-has-0123456789\n", { mode: 0o600 });
    for (const name of NAMES)
      expect((await host("repair", name, "--url", server.url, "--token-file", wrong)).code).toBe(0);
    const failing = Object.fromEntries(NAMES.map((name) => [name, "failing"]));
    expect(await doctor()).toEqual({ code: 1, ...failing });
    expect(await client("opencode", "mcp", "list")).not.toMatch(/pyro .*\bconnected/);
    for (const name of NAMES) expect((await host("repair", name, ...given)).code).toBe(0);
    expect(await doctor()).toEqual(ALL_CONNECTED);
  });
});
