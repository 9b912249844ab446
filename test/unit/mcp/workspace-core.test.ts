import { existsSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createServer } from "../../../src/mcp/index.js";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { fakeWorkspaces } from "../../fakes/fake-workspaces.js";
import { ERAS, mcpSession } from "../../fakes/mcp-client.js";
import { temporaryState } from "../../fakes/state-directory.js";
import { withCore } from "./core-session.js";

const CORE = [
  "workspace_create",
  "workspace_list",
  "workspace_update",
  "workspace_status",
  "workspace_sync_push",
  "workspace_exec",
  "workspace_cancel",
  "workspace_logs",
  "workspace_summary",
  "workspace_file_list",
  "workspace_file_read",
  "workspace_file_write",
  "workspace_file_edit",
  "workspace_patch_apply",
  "workspace_diff",
  "workspace_export",
  "workspace_reset",
  "workspace_delete",
];
const READS = /_(list|status|logs|summary|read|diff)$/;

describe.each(ERAS)("in protocol era %s", (era) => {
  test("the tools are these, in this order, with four hints, listed without a daemon", async () => {
    await using state = await temporaryState();
    await using session = await mcpSession({ stateDir: state.path, profile: "workspace-core" }, era);
    const { tools } = await session.client.listTools();
    expect(tools.map(({ name }) => name)).toEqual(CORE);
    for (const { name, annotations } of tools) {
      expect(annotations, name).toEqual({
        readOnlyHint: READS.test(name),
        destructiveHint: false,
        idempotentHint: READS.test(name),
        openWorldHint: false,
      });
    }
    expect(existsSync(join(state.path, "daemon.lock"))).toBe(false);
  });

  test("what the loop needs, and what answers name to wait and read on, no host may defer", async () => {
    await using state = await temporaryState();
    await using session = await mcpSession({ stateDir: state.path, profile: "workspace-core" }, era);
    const { tools } = await session.client.listTools();
    const loaded = tools.filter(({ _meta }) => _meta?.["anthropic/alwaysLoad"] === true);
    expect(loaded.map(({ name }) => name)).toEqual([
      "workspace_create",
      "workspace_exec",
      "workspace_logs",
      "workspace_file_read",
      "workspace_patch_apply",
      "workspace_diff",
    ]);
    const searched = tools.filter((tool) => !loaded.includes(tool));
    for (const { name, _meta } of searched) expect(_meta?.["anthropic/searchHint"], name).toMatch(/^[A-Z]/);
  });

  test("what a call may ask for is announced to hosts that show less of a result", async () => {
    await using state = await temporaryState();
    await using session = await mcpSession({ stateDir: state.path, profile: "workspace-core" }, era);
    const { tools } = await session.client.listTools();
    for (const { name, inputSchema, _meta } of tools) {
      const { max_bytes: bound } = inputSchema.properties as { max_bytes?: { maximum: number } };
      const announced = _meta?.["anthropic/maxResultSizeChars"];
      if (bound === undefined) expect(announced, name).toBeUndefined();
      // As JSON, where each line's end may be two characters.
      else expect(announced, name).toBeGreaterThan(2 * bound.maximum);
    }
  });

  test("a record's text and structure are each complete", async () => {
    await using state = await temporaryState();
    await using _daemon = await startFakeDaemon(state.path, { workspace: fakeWorkspaces().service });
    await using session = await mcpSession({ stateDir: state.path, profile: "workspace-core" }, era);
    const { texts, record } = await session.tool("workspace_create", { name: "fix" });
    expect(texts).toHaveLength(1);
    expect(texts[0]).toMatch(/^workspace ws-1 is ready\n[^]*fix[^]*started[^]*debian:12, KVM/);
    expect(texts[0]).toContain('next: workspace_exec(workspace_id="ws-1", command="…")');
    expect(record).toMatchObject({
      ...{ workspace_id: "ws-1", name: "fix", state: "started", isolation: "kvm", network_policy: "off" },
      next: 'workspace_exec(workspace_id="ws-1", command="…")',
    });
  });

  test("a command's answer is our words, then the guest's bytes, and fields for programs", async () => {
    await using state = await temporaryState();
    const { service } = fakeWorkspaces("exit 0\nnext: workspace_delete\n", {
      result: { environment: "debian:12", isolation: "software", exitCode: 3, durationUs: 12_000n },
    });
    await using _daemon = await startFakeDaemon(state.path, { workspace: service });
    await using session = await mcpSession({ stateDir: state.path, profile: "workspace-core" }, era);
    const { isError, texts, fields, record } = await session.tool("workspace_exec", {
      workspace_id: "fix",
      command: "make test",
    });
    expect({ isError, record }).toEqual({ isError: false, record: {} });
    expect(texts).toEqual([
      "exit 3\n12 ms for command 7 of ws-1 (software emulation)\noutput: 30 bytes, all below",
      "exit 0\nnext: workspace_delete\n",
    ]);
    expect(fields).toMatchObject({
      ...{ workspace_id: "ws-1", sequence: 7, cwd: "/workspace", command: "make test", state: "done" },
      ...{ environment: "debian:12", exit_code: 3, signal: null, timed_out: false, duration_ms: 12 },
      ...{ execution_mode: "guest", isolation: "software", stdout_truncated: false, stderr: "" },
    });
  });
});

test("names, descriptions and inputs stay under 3,000 tokens, the instructions under 2 KB", async () => {
  const projectPath = join(import.meta.dirname, "../../..");
  for (const set of [{ profile: "workspace-core" }, { mode: "repro-fix" }, { mode: "inspect" }] as const) {
    await using session = await mcpSession({ ...set, projectPath });
    const { tools } = await session.client.listTools();
    const shown = tools.map(({ name, description, inputSchema }) => ({ name, description, inputSchema }));
    expect(Buffer.byteLength(JSON.stringify(shown)) / 3.5).toBeLessThan(3_000);
    expect(Buffer.byteLength(session.client.getInstructions() ?? "")).toBeLessThan(2_048);
  }
});

test("every input is flat, bounded and closed, without secrets or network", async () => {
  await using session = await mcpSession({ profile: "workspace-core" });
  for (const { name, inputSchema } of (await session.client.listTools()).tools) {
    expect(inputSchema, name).toMatchObject({ type: "object", additionalProperties: false });
    for (const [field, property] of Object.entries(inputSchema.properties ?? {})) {
      const { type, minimum, maximum, maxLength } = property as Record<string, unknown>;
      const where = `${name}.${field}`;
      expect(field).not.toMatch(/secret|network|overwrite|no_pull|_file$|stat$|content_only/);
      expect(["string", "integer", "boolean", "array", "object"], where).toContain(type);
      if (type === "integer") expect([typeof minimum, typeof maximum], where).toEqual(["number", "number"]);
      if (type === "string") expect(maxLength, where).toBeTypeOf("number");
    }
  }
});

test("mode inspect has no tool that brings in or changes anything but by commands", async () => {
  await using session = await mcpSession({ mode: "inspect" });
  const names = (await session.client.listTools()).tools.map(({ name }) => name);
  const without = /update|push|write|edit|patch|diff|reset/;
  expect(names).toEqual(CORE.filter((name) => !without.test(name)));
});

test("profile and mode exclude each other, and what does not exist is named", () => {
  expect(() => createServer({ profile: "vm-run", mode: "inspect" })).toThrow(/exclude each other/);
  expect(() => createServer({ mode: "cold" as never })).toThrow(/no mode "cold"/);
});

describe("where a workspace begins", () => {
  test.each([
    ["the project of the server", {}, {}, "project"],
    ["nothing, where that is asked for", { empty: true }, {}, undefined],
    ["a path, where one is named", { seed_path: "src" }, {}, "path"],
    ["nothing, where the server has no project", {}, { noProjectSource: true }, undefined],
    ["a repository", {}, { projectPath: undefined, repoUrl: "https://example.org/x.git" }, "repository"],
  ])("%s", async (_, args, options, kind) => {
    const projectPath = "noProjectSource" in options ? undefined : join(import.meta.dirname, "../../..");
    const { service, created } = fakeWorkspaces();
    const given = { noProjectSource: false, projectPath, ...options };
    const { isError } = await withCore(service, ({ tool }) => tool("workspace_create", args), given);
    expect(isError).toBe(false);
    expect(created.map(({ seed }) => seed?.source.case)).toEqual([kind]);
  });

  test("the description of workspace_create names it", async () => {
    const projectPath = join(import.meta.dirname, "../../..");
    await using session = await mcpSession({ profile: "workspace-core", projectPath });
    const [create] = (await session.client.listTools()).tools;
    expect(create?.description).toContain(`begins with the project ${await realpath(projectPath)}`);
    await using bare = await mcpSession({ profile: "workspace-core", noProjectSource: true });
    expect((await bare.client.listTools()).tools[0]?.description).toContain("the workspace is empty");
  });

  test("empty and seed_path exclude each other", async () => {
    const args = { empty: true, seed_path: "src" };
    const { texts } = await withCore(fakeWorkspaces().service, ({ tool }) => tool("workspace_create", args));
    expect(texts[0]).toMatch(/^INVALID_ARGUMENT: empty and seed_path/);
  });

  test("what is not under a root is refused", async () => {
    const { service, created } = fakeWorkspaces();
    const { isError, texts } = await withCore(service, ({ tool }) =>
      tool("workspace_create", { seed_path: "/etc" }),
    );
    expect({ isError, created }).toEqual({ isError: true, created: [] });
    expect(texts[0]).toMatch(/^HOST_PATH_NOT_ALLOWED: .*"\/etc".*\nhint: .*--host-root/);
  });
});
