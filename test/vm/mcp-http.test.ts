/** Real clients over HTTP, and real machines behind it. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify, stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkoutOf, type Checkout } from "../chat-hosts/checkout.js";
import { CHAT_HOSTS } from "../chat-hosts/hosts.js";
import { BIN, HOMES, installHosts, NODE_BIN } from "../chat-hosts/installed.js";
import { PYTHON_PROJECT } from "../chat-hosts/projects.js";
import { hostSuite } from "../chat-hosts/suite.js";
import { httpServer, type HttpServer } from "./mcp-http-server.js";
import type { CallingSession } from "./mcp-session.js";
import { eventually, processes, testState, type TestState } from "./support.js";

const { path, testCommand: command, wrong, right, failedStatus, patch, success } = PYTHON_PROJECT;

/** Whatever a host would like to fetch: it does not try. */
const QUIET = {
  ...{ CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", DISABLE_AUTOUPDATER: "1", DISABLE_TELEMETRY: "1" },
  ...{ DISABLE_ERROR_REPORTING: "1", OPENCODE_DISABLE_AUTOUPDATE: "1", OPENCODE_DISABLE_MODELS_FETCH: "1" },
  ...{ OPENCODE_DISABLE_LSP_DOWNLOAD: "1" },
};

describe("the SDK's own clients", () => {
  let state: TestState;
  let project: Checkout;
  let server: HttpServer;
  beforeAll(async () => {
    state = await testState();
    project = await checkoutOf(PYTHON_PROJECT.files);
    server = await httpServer({ stateDir: state.path, cwd: project.path });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await project[Symbol.asyncDispose]();
    await state[Symbol.asyncDispose]();
  });

  const created = async ({ call }: CallingSession, args: object): Promise<string> => {
    const { record } = await call("workspace_create", { ...args });
    expect(record).toMatchObject({ state: "started" });
    return String(record["workspace_id"]);
  };

  it("work in the project that the server stands in: red, patched, green, exported, deleted", async () => {
    await using host = await server.client();
    const workspace_id = await created(host, {});
    const red = await host.call("workspace_exec", { workspace_id, command });
    expect(red.words).toMatch(new RegExp(`^exit ${failedStatus}\n`));
    await host.call("workspace_patch_apply", { workspace_id, patch });
    const progress: string[] = [];
    const onprogress = ({ message = "" }: { message?: string | undefined }): void =>
      void progress.push(message);
    const green = await host.call("workspace_exec", { workspace_id, command }, { onprogress });
    expect(green.words).toMatch(/^exit 0\n/);
    expect(green.guest).toContain(success);
    expect(progress).not.toEqual([]);
    const diff = await host.call("workspace_diff", { workspace_id });
    expect(diff.guest).toContain(`\n-${wrong}+${right}`);
    const long = await host.call("workspace_exec", { workspace_id, command: "seq 100000" });
    expect(long.guest.trimEnd().endsWith("\n99999\n100000")).toBe(true);
    const exported = await host.call("workspace_export", { workspace_id, path, output_path: "out.py" });
    expect(exported.isError).toBe(false);
    expect((await host.call("workspace_delete", { workspace_id })).record).toMatchObject({ deleted: true });
    expect(await project.status()).toBe("?? out.py\n");
    await rm(`${project.path}/out.py`);
  });

  it("of both eras work at once, each with its own: what one cancels or leaves ends nothing of the other's", async () => {
    await using one = await server.client("2025-11-25");
    await using other = await server.client();
    const ids = await Promise.all([one, other].map((host) => created(host, { empty: true })));
    const [ours = "", theirs = ""] = ids;
    const slow = "for i in 1 2 3 4 5 6; do echo line $i; sleep 1; done";
    const controller = new AbortController();
    const cancelled = one
      .call("workspace_exec", { workspace_id: ours, command: "sleep 600" }, { signal: controller.signal })
      .catch(() => "cancelled");
    const left = await server.client("2025-11-25");
    const lost = left.call("workspace_exec", { workspace_id: ours, command: slow }).catch(() => "lost");
    const whole = other.call("workspace_exec", { workspace_id: theirs, command: slow });
    const running = async (): Promise<unknown> =>
      (await other.call("workspace_status", { workspace_id: ours })).record["running_command_count"];
    await eventually("both commands run", async () => (await running()) === 2);
    controller.abort();
    expect(await cancelled).toBe("cancelled");
    await left.client.close();
    expect(await lost).toBe("lost");
    await eventually("one command runs", async () => (await running()) === 1);
    const lines = [1, 2, 3, 4, 5, 6].map((i) => `line ${i}\n`).join("");
    expect(await whole).toMatchObject({ isError: false, guest: lines });
    const { record } = await other.call("workspace_logs", { workspace_id: ours });
    const texts = (record["entries"] as Record<string, unknown>[]).map((known) => known["command"]);
    const sequence = texts.indexOf(slow) + 1;
    expect(texts.toSorted()).toEqual([slow, "sleep 600"].toSorted());
    const logs = await other.call("workspace_logs", { workspace_id: ours, sequence, wait_seconds: 40 });
    expect(logs).toMatchObject({ words: expect.stringMatching(/^exit 0\n/) as string, guest: lines });
    for (const [host, workspace_id] of [[other, ours] as const, [one, theirs] as const])
      expect((await host.call("workspace_delete", { workspace_id })).isError).toBe(false);
  });

  it("find their workspace and its command again after the server was killed, at the same place", async () => {
    await using first = await httpServer({
      stateDir: state.path,
      cwd: project.path,
      flags: ["--mode", "repro-fix"],
    });
    const host = await first.client("2025-11-25");
    const workspace_id = await created(host, { empty: true });
    const slow = "for i in 1 2 3 4; do echo line $i; sleep 1; done";
    // A client of a session waits for its answer although the connection is lost.
    const lost = host
      .call("workspace_exec", { workspace_id, command: slow }, { timeout: 6_000 })
      .catch(() => "lost");
    await eventually("the command runs", async () => {
      const { record } = await host.call("workspace_status", { workspace_id });
      return record["running_command_count"] === 1;
    });
    first.child.kill("SIGKILL");
    expect(await lost).toBe("lost");
    await host.client.close().catch(() => undefined);
    const port = Number(new URL(first.url).port);
    await using second = await httpServer({ stateDir: state.path, cwd: project.path, port });
    expect([second.url, second.token]).toEqual([first.url, first.token]);
    await using again = await second.client("2025-11-25");
    const logs = await again.call("workspace_logs", { workspace_id, sequence: 1, wait_seconds: 40 });
    expect(logs).toMatchObject({
      words: expect.stringMatching(/^exit 0\n/) as string,
      guest: [1, 2, 3, 4].map((i) => `line ${i}\n`).join(""),
    });
    await again.call("workspace_delete", { workspace_id });
  });
});

describe("docs/mcp-over-http.md", () => {
  it("has lines that connect Claude Code, Codex and OpenCode, as the hosts themselves say", async () => {
    expect(await installHosts()).toBeUndefined();
    await using state = await testState({ environments: false });
    await using project = await checkoutOf(PYTHON_PROJECT.files);
    await using server = await httpServer({ stateDir: state.path, cwd: project.path });
    await mkdir(HOMES, { recursive: true });
    const home = await mkdtemp(join(HOMES, "h-"));
    try {
      await mkdir(join(home, ".local/state/pyro"), { recursive: true });
      await writeFile(join(home, ".local/state/pyro/mcp-http-token"), `${server.token}\n`);
      const docs = await readFile(join(import.meta.dirname, "../../docs/mcp-over-http.md"), "utf8");
      const blocks = Array.from(docs.matchAll(/^```(?:sh|json)\n([^]*?)^```$/gm), ([, block = ""]) =>
        block.replaceAll("http://127.0.0.1:8765/mcp", server.url),
      );
      const block = (beginning: string): string => blocks.find((one) => one.startsWith(beginning)) ?? "";
      const says = async (line: string): Promise<string> => {
        const PATH = [NODE_BIN, BIN, process.env["PATH"]].join(":");
        const env = { ...QUIET, PATH, HOME: home, CODEX_HOME: home };
        const { stdout } = await promisify(execFile)("sh", ["-c", `${line} </dev/null`], {
          ...{ cwd: project.path, env, timeout: 100_000 },
        });
        return stripVTControlCharacters(stdout);
      };
      await says(block("claude mcp add").trim());
      expect(await says("claude mcp list")).toMatch(/^pyro: http:\S+ \(HTTP\) - \S Connected$/m);
      await says(block("codex mcp add").trim());
      expect(await says("codex mcp list")).toMatch(
        new RegExp(`^pyro +${server.url} +PYRO_TOKEN +enabled `, "m"),
      );
      await writeFile(join(project.path, "opencode.json"), block("{"));
      expect(await says("opencode mcp list")).toMatch(/pyro +connected\n/);
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  });
});

describe("chat hosts", () => {
  const { state, runAt, leavesNothing } = hostSuite();

  it.for(Object.values(CHAT_HOSTS).map((host) => [host.name, host] as const))(
    "%s works through a server that runs already",
    async ([, host]) => {
      await using checkout = await checkoutOf(PYTHON_PROJECT.files);
      await using server = await httpServer({ stateDir: state().path, cwd: checkout.path });
      await runAt(host, checkout, server, async ({ call, load }) => {
        await load("workspace_list", "workspace_delete");
        await call("workspace_create", { name: "over-http" });
        const workspace_id = "over-http";
        const red = await call("workspace_exec", { workspace_id, command });
        expect(red.words).toMatch(new RegExp(`^exit ${failedStatus}\n`));
        await call("workspace_patch_apply", { workspace_id, patch });
        const green = await call("workspace_exec", { workspace_id, command });
        expect(green.words).toMatch(/^exit 0\n/);
        expect(green.guest).toContain(success);
        expect((await call("workspace_delete", { workspace_id })).words).toContain("deleted");
        return "The test passes.";
      });
      const { pid } = server.child;
      expect(
        (await processes()).filter(({ line }) => line.includes(" mcp serve")).map((found) => found.pid),
      ).toEqual([pid]);
      await leavesNothing();
    },
  );
});
