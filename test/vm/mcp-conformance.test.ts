import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BIN, installHosts, NODE_BIN } from "../chat-hosts/installed.js";
import { conformanceHost } from "../conformance/host.js";
import { PYRO, testState, type TestState } from "./support.js";

const SUITE = join(import.meta.dirname, "../hosts/node_modules/@modelcontextprotocol/conformance");
const execute = promisify(execFile);

beforeAll(async () => {
  // Never skipped: it fails where the suite cannot be had.
  expect(await installHosts()).toBeUndefined();
});

describe("the public MCP conformance suite", () => {
  it.each([
    // Each required scenario, and fewer checks than passed in them when this was written: 120 and 70.
    { revision: "2026-07-28", scenarios: 37, checks: 115 },
    { revision: "2025-11-25", scenarios: 30, checks: 65 },
  ])("finds all that revision $revision requires", async ({ revision, scenarios, checks }) => {
    const out = await mkdtemp(join(tmpdir(), "pyro-conformance-"));
    try {
      await using host = await conformanceHost({ stateDir: out, noProjectSource: true });
      const { stdout } = await execute(
        join(NODE_BIN, "node"),
        [
          ...[join(SUITE, "dist/index.js"), "server", "--url", host.url],
          ...["--requirements", revision, "-o", out],
        ],
        { timeout: 120_000, maxBuffer: 64 << 20 },
      );
      const required = await requiredScenarios(revision);
      const found = await statuses(out);
      expect(required).toHaveLength(scenarios);
      let passed = 0;
      for (const scenario of required) {
        const said = found.get(scenario) ?? [];
        // Neither a failure, nor a warning, nor something skipped.
        expect(
          said.filter((status) => status !== "SUCCESS" && status !== "INFO"),
          scenario,
        ).toEqual([]);
        expect(said, scenario).toContain("SUCCESS");
        passed += said.filter((status) => status === "SUCCESS").length;
      }
      console.log(`${revision}: ${required.length} required scenarios, ${passed} checks passed`);
      expect(stdout).toMatch(new RegExp(`Not scored for ${revision}`));
      expect(passed).toBeGreaterThanOrEqual(checks);
    } finally {
      await rm(out, { recursive: true, force: true });
    }
  });
});

describe("the built server", () => {
  let state: TestState;
  beforeAll(async () => {
    state = await testState({ environments: false });
  });
  afterAll(async () => await state[Symbol.asyncDispose]());

  const serve = (...set: string[]) => [
    ...[process.execPath, PYRO, "--state-dir", state.path, "mcp", "serve"],
    ...["--no-project-source", ...set],
  ];
  const inspect = async (command: readonly string[], ...args: string[]) => {
    const env = { PATH: `${NODE_BIN}:${process.env["PATH"] ?? ""}`, HOME: state.path };
    const all = ["--cli", ...args, ...command, "--format", "json"];
    // Exit status 5: the result is an error.
    const { stdout } = await execute(join(BIN, "mcp-inspector"), all, {
      ...{ env, timeout: 60_000, maxBuffer: 16 << 20 },
    }).catch((error: unknown) => {
      const { code, stdout: said } = error as { code: unknown; stdout: string };
      if (code === 5) return { stdout: said };
      throw error;
    });
    return (JSON.parse(stdout) as { result: Record<string, unknown> }).result;
  };

  it.each([
    ["the default profile", [], 18],
    ["mode repro-fix", ["--mode", "repro-fix"], 18],
    ["mode inspect", ["--mode", "inspect"], 11],
    ["profile vm-run", ["--profile", "vm-run"], 1],
  ] as const)("lists the tools of %s, portable by the inspector's strict rules", async (_, set, count) => {
    const command = [...serve(...set), "--method", "tools/list", "--strict"];
    const { tools } = (await inspect(command)) as unknown as { tools: unknown[] };
    expect(tools).toHaveLength(count);
  });

  it.each(["auto", "modern"])("answers tool calls of the inspector, protocol era %s", async (era) => {
    const method = ["--method", "tools/call", "--tool-name"];
    const call = async (tool: string, args: object) =>
      await inspect(
        [...serve(), ...method, tool, "--tool-args-json", JSON.stringify(args)],
        ...(era === "modern" ? ["--protocol-era", "modern"] : []),
      );
    expect(await call("workspace_list", {})).toMatchObject({
      structuredContent: { count: 0, workspaces: [] },
    });
    const error = await call("workspace_status", { workspace_id: "nobody" });
    expect(error).toMatchObject({
      isError: true,
      content: [{ type: "text", text: expect.stringMatching(/^WORKSPACE_NOT_FOUND: .*"nobody"/) as string }],
    });
    expect(error).not.toHaveProperty("structuredContent");
  });

  it("lists its tools soon after its start", async () => {
    const took: number[] = [];
    for (let round = 0; round < 5; round++) {
      const [command = "", ...args] = serve();
      const client = new Client({ name: "test", version: "1" });
      const begun = performance.now();
      await client.connect(new StdioClientTransport({ command, args, stderr: "ignore" }));
      expect((await client.listTools()).tools).toHaveLength(18);
      took.push(Math.round(performance.now() - begun));
      await client.close();
    }
    // A figure, not a bound: other work on this machine would fail it. The goal is 700 ms.
    console.log(`start to tools/list: ${took.sort((a, b) => a - b).join(", ")} ms`);
  });
});

/** The server scenarios that a revision requires, from the suite's own list. */
async function requiredScenarios(revision: string): Promise<string[]> {
  const list = await readFile(join(SUITE, `requirements/${revision}.yaml`), "utf8");
  const [, server = ""] = /^server:\n((?: {2}- .*\n)+)/m.exec(list) ?? [];
  return server.split("\n").flatMap((line) => /^ {2}- (\S+)$/.exec(line)?.[1] ?? []);
}

/** What the checks of each scenario came to, from the files that the suite wrote. */
async function statuses(out: string): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const directory of await readdir(out)) {
    const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT/.exec(directory)?.[1];
    if (scenario === undefined) continue;
    const checks = JSON.parse(await readFile(join(out, directory, "checks.json"), "utf8")) as object[];
    found.set(
      scenario,
      checks.map((check) => (check as { status: string }).status),
    );
  }
  return found;
}
