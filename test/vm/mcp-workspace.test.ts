import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mcpSession, type Session } from "./mcp-session.js";
import { testState, type TestState } from "./support.js";

const execute = promisify(execFile);

describe("the profile workspace-core over stdio, as a chat host uses it", () => {
  let state: TestState;
  let project: string;
  beforeAll(async () => {
    state = await testState();
    project = await mkdtemp(join(tmpdir(), "pyro-project-"));
    await mkdir(join(project, "src"));
    await writeFile(join(project, "src/adder.py"), "def add(a, b):\n    return a - b\n");
    await writeFile(
      join(project, "test_adder.py"),
      "import sys\nsys.path.insert(0, 'src')\nfrom adder import add\nassert add(2, 3) == 5, f'2 + 3 is {add(2, 3)}'\nprint('ok')\n",
    );
    await writeFile(join(project, ".gitignore"), "secret.env\n");
    await writeFile(join(project, "secret.env"), "TOKEN=1\n");
    const git = (...args: string[]) =>
      execute("git", ["-c", "user.name=t", "-c", "user.email=t@example.org", ...args], { cwd: project });
    await git("init", "-q", "-b", "trunk");
    await git("add", ".");
    await git("commit", "-qm", "an adder that subtracts");
  });
  afterAll(async () => {
    await rm(project, { recursive: true, force: true });
    await state[Symbol.asyncDispose]();
  });

  /** A server in the project's directory, and a client of it. */
  const session = (...flags: string[]): Promise<Session> =>
    mcpSession({ stateDir: state.path, cwd: project, flags });

  it("reproduces, patches, proves, exports, resets and deletes, without the checkout being touched", async () => {
    await using host = await session();
    const tools = (await host.client.listTools()).tools;
    expect(tools).toHaveLength(18);
    expect(tools[0]?.description).toContain(project);
    expect(host.stderr()).toBe(`pyro: project source: ${project} (Git checkout, branch trunk)\n`);

    const created = await host.call("workspace_create", { name: "fix" });
    expect(created).toMatchObject({ isError: false, record: { state: "started", name: "fix" } });
    const workspace_id = String(created.record["workspace_id"]);
    expect(created.words).toContain(`next: workspace_exec(workspace_id="${workspace_id}"`);
    const red = await host.call("workspace_exec", { workspace_id, command: "python3 test_adder.py" });
    expect(red.isError).toBe(false);
    expect(red.words).toMatch(/^exit 1\n/);
    expect(red.guest).toContain("AssertionError: 2 + 3 is -1");

    const listed = await host.call("workspace_file_list", { workspace_id, recursive: true });
    expect(listed.words).toContain("src/adder.py");
    expect(listed.words).not.toContain("secret.env");
    const read = await host.call("workspace_file_read", { workspace_id, path: "src/adder.py" });
    expect(read.guest).toBe("def add(a, b):\n    return a - b\n");
    const patch =
      "--- a/src/adder.py\n+++ b/src/adder.py\n@@ -1,2 +1,2 @@\n def add(a, b):\n-    return a - b\n+    return a + b\n";
    const patched = await host.call("workspace_patch_apply", { workspace_id, patch });
    expect(patched.record).toMatchObject({ changed: true, entries: [{ change: "modified" }] });
    const green = await host.call("workspace_exec", { workspace_id, argv: ["python3", "test_adder.py"] });
    expect([green.words.split("\n")[0], green.guest]).toEqual(["exit 0", "ok\n"]);

    const diff = await host.call("workspace_diff", { workspace_id, path: "src/adder.py" });
    expect(diff.words).toMatch(/^1 changed: 0 added, 1 modified/);
    expect(diff.guest).toContain("-    return a - b\n+    return a + b\n");
    const summary = await host.call("workspace_summary", { workspace_id });
    expect(summary.record["outcome"]).toMatchObject({ total_commands: 2, failed_commands: 1 });
    const output_path = "adder.fixed.py";
    const exported = await host.call("workspace_export", { workspace_id, path: "src/adder.py", output_path });
    expect(exported.isError).toBe(false);
    expect(await readFile(join(project, output_path), "utf8")).toContain("a + b");
    const again = await host.call("workspace_export", { workspace_id, path: "src/adder.py", output_path });
    expect(again.words).toMatch(/^EXPORT_EXISTS: /);
    expect(again.words).not.toContain("--overwrite");
    const outside = await host.call("workspace_export", {
      workspace_id,
      path: "src",
      output_path: "/etc/pyro-x",
    });
    expect(outside.words).toMatch(/^HOST_PATH_NOT_ALLOWED: .*\nhint: .*--host-root/);

    const reset = await host.call("workspace_reset", { workspace_id });
    expect(reset.record).toMatchObject({ state: "started", reset: { count: 1 } });
    expect(
      (await host.call("workspace_exec", { workspace_id, command: "python3 test_adder.py" })).words,
    ).toMatch(/^exit 1\n/);
    const deleted = await host.call("workspace_delete", { workspace_id });
    expect(deleted.record).toMatchObject({ deleted: true });
    const gone = await host.call("workspace_status", { workspace_id });
    expect(gone).toMatchObject({ isError: true });
    expect(gone.words).toMatch(/^WORKSPACE_NOT_FOUND: .*\nhint: .*workspace_/);
    expect(await readFile(join(project, "src/adder.py"), "utf8")).toContain("a - b");
    await rm(join(project, output_path));
  });

  it("a server killed in mid-exec leaves workspace, command and output to the next one", async () => {
    const first = await session("--mode", "repro-fix");
    const created = await first.call("workspace_create", { empty: true });
    const workspace_id = String(created.record["workspace_id"]);
    const command = "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done";
    const lost = first.call("workspace_exec", { workspace_id, command }).catch(() => "lost");
    for (let count = 0; count === 0;) {
      const status = await first.call("workspace_status", { workspace_id });
      count = Number(status.record["running_command_count"]);
    }
    process.kill(first.pid, "SIGKILL");
    expect(await lost).toBe("lost");
    await first[Symbol.asyncDispose]();
    await using second = await session("--mode", "repro-fix");
    expect((await second.call("workspace_list")).words).toContain(workspace_id);
    const logs = await second.call("workspace_logs", { workspace_id, sequence: 1, wait_seconds: 40 });
    expect(logs.words).toMatch(/^exit 0\n/);
    expect(logs.guest).toBe([1, 2, 3, 4, 5, 6].map((i) => `line ${i}\n`).join(""));
    await second.call("workspace_delete", { workspace_id });
  });

  it("two agents in workspaces of one repository do not see each other", async () => {
    await using left = await session();
    await using right = await session();
    const both = [left, right];
    const created = await Promise.all(both.map((host) => host.call("workspace_create")));
    const ids = created.map(({ record }) => String(record["workspace_id"]));
    expect(new Set(ids).size).toBe(2);
    const edit = { path: "src/adder.py", old_text: "a - b" };
    const texts = ["a + b", "sum([a, b])"];
    await Promise.all(
      both.map((host, i) =>
        host.call("workspace_file_edit", { workspace_id: ids[i], ...edit, new_text: texts[i] }),
      ),
    );
    const diffs = await Promise.all(
      both.map((host, i) => host.call("workspace_diff", { workspace_id: ids[i] })),
    );
    expect(diffs.map(({ guest }) => /^\+ .*$/m.exec(guest)?.[0])).toEqual(
      texts.map((text) => `+    return ${text}`),
    );
    await Promise.all(both.map((host, i) => host.call("workspace_delete", { workspace_id: ids[i] })));
  });
});
