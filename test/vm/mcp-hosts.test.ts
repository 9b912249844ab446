import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BIN, HOMES, installHosts, NODE_BIN } from "../chat-hosts/installed.js";
import { PYRO, testState, type TestState } from "./support.js";

const execute = promisify(execFile);

describe("real MCP clients", () => {
  let state: TestState;
  let home: string;
  let missing: string | undefined;
  beforeAll(async () => {
    state = await testState();
    missing = await installHosts();
    await mkdir(HOMES, { recursive: true });
    home = await mkdtemp(join(HOMES, "h-"));
  });
  beforeEach(({ skip }) => {
    if (missing !== undefined) skip(missing);
  });
  afterAll(async () => {
    await rm(home, { recursive: true, force: true });
    await state[Symbol.asyncDispose]();
  });

  const serve = () => [
    process.execPath,
    PYRO,
    "--state-dir",
    state.path,
    "mcp",
    "serve",
    "--profile",
    "vm-run",
  ];
  const client = (program: string, args: string[]) =>
    execute(join(BIN, program), args, {
      timeout: 120_000,
      maxBuffer: 16 << 20,
      env: {
        PATH: `${NODE_BIN}:${process.env["PATH"] ?? ""}`,
        HOME: home,
        CLAUDE_CONFIG_DIR: join(home, ".claude"),
        ANTHROPIC_API_KEY: "sk-ant-none",
        ANTHROPIC_BASE_URL: "http://127.0.0.1:9",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        DISABLE_AUTOUPDATER: "1",
        DISABLE_TELEMETRY: "1",
        DISABLE_ERROR_REPORTING: "1",
      },
    });
  const inspect = (...args: string[]) =>
    client("mcp-inspector", ["--cli", ...serve(), ...args, "--format", "json"]);

  /** The inspector wraps what the server said. */
  const resultOf = (stdout: string): unknown => (JSON.parse(stdout) as { result: unknown }).result;

  it("lists vm_run through the inspector, portable by its strict rules", async () => {
    const { stdout } = await inspect("--method", "tools/list", "--strict");
    const { tools } = resultOf(stdout) as { tools: { name: string; annotations: unknown }[] };
    expect(tools.map(({ name }) => name)).toEqual(["vm_run"]);
    expect(tools[0]?.annotations).toEqual(
      expect.objectContaining({
        readOnlyHint: false,
        destructiveHint: false,
        idempotentHint: false,
        openWorldHint: false,
      }),
    );
  });

  it.each(["auto", "modern"])("calls vm_run through the inspector, protocol era %s", async (era) => {
    const { stdout } = await inspect(
      ...(era === "modern" ? ["--protocol-era", "modern"] : []),
      "--method",
      "tools/call",
      "--tool-name",
      "vm_run",
      "--tool-args-json",
      JSON.stringify({ environment: "debian:12", command: "uname -r; cat /proc/1/comm; exit 3" }),
    );
    const result = resultOf(stdout) as { content: { text: string }[]; isError?: boolean };
    expect(result.isError ?? false).toBe(false);
    expect(result.content[0]?.text).toMatch(/^exit 3/);
    expect(result.content[1]?.text).toMatch(/cloud-amd64\npyro-agent/);
  });

  it("is connected in Claude Code", async () => {
    await client("claude", ["mcp", "add", "pyro", "--", ...serve()]);
    const { stdout } = await client("claude", ["mcp", "list"]);
    expect(stdout).toMatch(/pyro: .*Connected/);
  });
});
