import { Code, ConnectError } from "@connectrpc/connect";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cli, type CliRun, type CliSetup } from "../../fakes/cli-host.js";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";
import { serveWorkspaces, WorkspaceHost } from "../../fakes/workspace-host.js";

describe("pyro workspace", () => {
  let host: WorkspaceHost;
  let served: Awaited<ReturnType<typeof serveWorkspaces>>;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
    served = await serveWorkspaces(host);
  });
  afterEach(async () => {
    await served[Symbol.asyncDispose]();
    await host[Symbol.asyncDispose]();
  });

  const pyro = (args: readonly string[], setup: CliSetup = {}): Promise<CliRun> =>
    cli(["--state-dir", served.stateDir, "workspace", ...args], setup);
  const create = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await pyro(["create", "debian:12", "--id-only", ...args]);
    expect({ status, error: stderr.includes("hint") }).toEqual({ status: 0, error: false });
    return stdout.trim();
  };
  const withProject = async (): Promise<string> => {
    const path = host.path("repo");
    await mkdir(path);
    await writeFile(join(path, "app.py"), "a - b\n");
    return await create("--name", "fix-1", "--seed-path", path);
  };

  it("create says what to do next, and --id-only and --json say what they say", async () => {
    const { status, stdout } = await pyro(["create", "--name", "fix-1"]);
    expect(status).toBe(0);
    const [first, next] = stdout.split("\n");
    const id = host.workspaces.all[0]?.id ?? "";
    expect([first, next]).toEqual([`workspace ${id} is ready`, `next: pyro workspace exec ${id} -- ls -la`]);
    expect(await create("--label", "a=1", "--label", "b=2=3")).toMatch(/^ws-[0-9a-f]{16}$/);
    const json = JSON.parse((await pyro(["create", "--json", "--ttl-seconds", "60"])).stdout) as object;
    expect(json).toMatchObject({
      state: "started",
      network_policy: "off",
      labels: {},
      workspace_seed: { mode: "empty" },
    });
    const listed = JSON.parse((await pyro(["list", "--json"])).stdout) as { workspaces: object[] };
    expect(listed.workspaces).toContainEqual(expect.objectContaining({ labels: { a: "1", b: "2=3" } }));
  });

  it("list, status and update show it for people", async () => {
    expect((await pyro(["list"])).stdout).toBe(
      "there are no workspaces; `pyro workspace create debian:12` makes one\n",
    );
    const id = await withProject();
    await pyro(["exec", "fix-1", "--", "sh", "-c", "exit 3"]);
    const { stdout: list } = await pyro(["list"]);
    expect(list).toContain("WORKSPACE");
    expect(list).toMatch(new RegExp(`${id} +fix-1 +started +debian:12 +exit 3: sh -c 'exit 3'`));
    await pyro(["update", id.slice(0, 10), "--name", "winner", "--label", "kind=best"]);
    const { stdout } = await pyro(["status", "winner", "--wait-seconds", "1"]);
    for (const part of [
      "winner",
      "kind=best",
      "started",
      "software emulation",
      "1 vCPU, 1024 MiB",
      "repo, 1 entry",
      "(exit 3)",
    ])
      expect(stdout).toContain(part);
    await pyro(["stop", "winner"]);
    expect((await pyro(["status", "winner"])).stdout).toContain("stopped (user)");
    expect(
      (await pyro(["update", "winner", "--clear-name", "--clear-label", "kind", "--json"])).stdout,
    ).toContain('"name": null');
    host.machines.before = () => undefined;
    expect((await pyro(["start", id])).stdout).toContain("started");
  });

  it("exec goes on through the loss of a daemon, and says so, and what was not kept meanwhile", async () => {
    await using state = await temporaryState();
    const attached: unknown[] = [];
    const bytes = (word: string) => ({ event: { case: "stdout" as const, value: Buffer.from(word) } });
    await using _daemon = await startFakeDaemon(state.path, {
      workspace: {
        exec: async function* (requests) {
          for await (const { request } of requests) {
            if (request.case === "start") {
              yield { event: { case: "sequence" as const, value: 3 } };
              yield bytes("begun\n");
              throw new ConnectError("killed", Code.Unavailable);
            }
            if (request.case === "attach") attached.push(request.value);
            const result = { workspaceId: "ws-1", sequence: 3, result: { exitCode: 4, isolation: "kvm" } };
            yield { event: { case: "skipped" as const, value: { stream: "stdout", bytes: 10n } } };
            yield bytes("ended\n");
            yield { event: { case: "result" as const, value: result } };
            return;
          }
        },
      },
    });
    const run = await cli(["--state-dir", state.path, "workspace", "exec", "fix", "--", "make"]);
    expect([run.status, run.stdout]).toEqual([4, "begun\nended\n"]);
    expect(run.stderr.trim().split("\n")).toEqual([
      "pyro: the connection to the pyro daemon was lost: killed; the command goes on, and so does its output",
      "pyro: 10 bytes of its stdout were not kept meanwhile",
    ]);
    expect(attached).toMatchObject([{ workspace: "fix", sequence: 3, stdoutOffset: 6n, stderrOffset: 0n }]);
  });

  it("exec streams, passes input and ends with the command's own status", async () => {
    await withProject();
    const cat = await pyro(
      ["exec", "fix-1", "--env", "A=b c", "--", "sh", "-c", 'cat; echo "$A" >&2; exit 4'],
      { stdin: "in\n" },
    );
    expect(cat).toEqual({ status: 4, stdout: "in\n", stderr: "b c\n" });
    expect((await pyro(["exec", "fix-1", "--", "sh", "-c", "kill -KILL $$"])).status).toBe(137);
    const json = await pyro(["exec", "fix-1", "--json", "--", "cat", "app.py"]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      sequence: 3,
      exit_code: 0,
      stdout: "a - b\n",
      execution_mode: "guest",
      timed_out: false,
    });
    expect(await pyro(["exec", "fix-1", "--timeout-seconds", "1", "--", "sleep", "100"])).toMatchObject({
      status: 124,
      stderr: expect.stringContaining("--timeout-seconds") as string,
    });
    expect(await pyro(["exec", "fix-1", "--", "/no/such"])).toMatchObject({
      status: 127,
      stderr: expect.stringContaining("COMMAND_NOT_FOUND") as string,
    });
    expect((await pyro(["exec", "none", "--", "true"])).status).toBe(125);
    expect(await pyro(["exec", "fix-1"])).toMatchObject({
      status: 125,
      stderr: expect.stringContaining(
        "put the guest's command after --, for example `pyro workspace exec",
      ) as string,
    });
    expect((await pyro(["exec", "fix-1", "--env", "A", "--", "true"])).status).toBe(125);
  });

  it("exec hands Ctrl-C to the guest, and says what interrupted a command", async () => {
    const id = await withProject();
    const interrupted = await pyro(["exec", "fix-1", "--", "sh", "-c", "echo begun; sleep 100"], {
      during: async (send, stdout) => {
        await vi.waitFor(() => expect(stdout()).toContain("begun"), 5000);
        send("SIGINT");
      },
    });
    expect(interrupted.status).toBe(130);
    const stopped = await pyro(["exec", "fix-1", "--", "sh", "-c", "echo begun; sleep 100"], {
      during: async (_, stdout) => {
        await vi.waitFor(() => expect(stdout()).toContain("begun"), 5000);
        await host.workspaces.find(id).stop("user").result;
      },
    });
    expect(stopped).toMatchObject({
      status: 125,
      stderr: expect.stringContaining("the workspace was stopped") as string,
    });
  });

  it("logs lists commands, or shows one; cancel ends one", async () => {
    await withProject();
    expect((await pyro(["logs", "fix-1"])).stdout).toContain("no command has run");
    await pyro(["exec", "fix-1", "--", "sh", "-c", "echo out; echo err >&2"]);
    await pyro(["exec", "fix-1", "--", "false"]);
    const { stdout } = await pyro(["logs", "fix-1"]);
    expect(stdout).toMatch(/SEQUENCE +RESULT +TOOK +COMMAND\n1 +exit 0 +\S+ ms +sh -c .*\n2 +exit 1 /);
    expect((await pyro(["logs", "fix-1", "--sequence", "1"])).stdout).toBe("out\nerr\n[command 1: exit 0]\n");
    expect(JSON.parse((await pyro(["logs", "fix-1", "--sequence", "1", "--json"])).stdout)).toMatchObject({
      count: 1,
      entries: [{ stdout: "out\n", stderr_bytes: 4 }],
    });
    expect((await pyro(["cancel", "fix-1", "2"])).stdout).toBe("command 2: exit 1\n");
    expect(await pyro(["cancel", "fix-1", "9"])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("SEQUENCE_NOT_FOUND") as string,
    });
  });

  it("file, patch, diff, export and summary do the loop", async () => {
    const id = await withProject();
    expect((await pyro(["file", "list", "fix-1"])).stdout).toMatch(/6 B +\/workspace\/app.py/);
    expect((await pyro(["file", "read", "fix-1", "app.py"])).stdout).toBe("a - b\n[6 of 6 bytes]\n");
    expect((await pyro(["file", "read", "fix-1", "app.py", "--max-bytes", "2"])).stdout).toBe(
      "a \n[2 of 6 bytes; --offset 2 reads on]\n",
    );
    expect((await pyro(["file", "read", "fix-1", "app.py", "--content-only"])).stdout).toBe("a - b\n");
    expect(
      (await pyro(["file", "edit", "fix-1", "app.py", "--old-text", "a - b", "--new-text", "a + b"])).stdout,
    ).toBe("/workspace/app.py: 1 place changed\n");
    expect((await pyro(["file", "write", "fix-1", "notes.md", "--text", "done\n"])).stdout).toBe(
      "/workspace/notes.md: 5 B written\n",
    );
    await writeFile(host.path("fix.diff"), "--- a/notes.md\n+++ b/notes.md\n@@ -1 +1 @@\n-done\n+all done\n");
    expect((await pyro(["patch", "apply", "fix-1", "--patch-file", host.path("fix.diff")])).stdout).toBe(
      "modified notes.md\n",
    );
    expect((await pyro(["patch", "apply", "fix-1"])).status).toBe(1);
    expect((await pyro(["patch", "apply", "fix-1", "--patch-file", host.path("none")])).stderr).toContain(
      "cannot be read",
    );
    const { stdout: diff } = await pyro(["diff", "fix-1"]);
    expect(diff).toContain("-a - b\n+a + b\n");
    expect((await pyro(["diff", "fix-1", "--max-bytes", "30"])).stdout).toContain(
      "[cut; --offset 30 reads on]",
    );
    const { stdout: stat } = await pyro(["diff", "fix-1", "--stat"]);
    expect(stat).toMatch(/modified +\+1 -1 +app.py\n/);
    expect(stat).toContain("1 added, 1 modified, 0 deleted, 0 renamed; +2 -1\n");
    expect(JSON.parse((await pyro(["diff", "fix-1", "--json"])).stdout)).toMatchObject({
      workspace_id: id,
      changed: true,
      summary: { added: 1 },
      patch: diff.endsWith("\n") ? diff : `${diff}\n`,
    });
    const output = host.path("app.py");
    expect((await pyro(["export", "fix-1", "app.py", "--output", output])).stdout).toContain(
      `/workspace/app.py is at ${output}: 1 entry, 6 B\n`,
    );
    expect(await readFile(output, "utf8")).toBe("a + b\n");
    expect(await pyro(["export", "fix-1", "app.py", "--output", output])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("--overwrite") as string,
    });
    await pyro(["exec", "fix-1", "--", "sh", "-c", "printf 'all:\\n' > Makefile"]);
    const { stdout: summary } = await pyro(["summary", "fix-1"]);
    for (const part of [
      "commands: 1, 0 failed",
      "edits:",
      "file_edit  /workspace/app.py",
      "changes since the baseline:",
      `exported: /workspace/app.py -> ${output}`,
      "this host would run or obey:",
      "Makefile",
    ])
      expect(summary).toContain(part);
    expect(JSON.parse((await pyro(["summary", "fix-1", "--json"])).stdout)).toMatchObject({
      outcome: { total_commands: 1, failed_commands: 0 },
      artifacts: [{ output_path: output }],
      services: [],
      snapshots: [{ snapshot_name: "baseline", deletable: false }],
      network: { policy: { mode: "off" }, entries: [] },
    });
    expect((await pyro(["reset", "fix-1"])).stdout).toMatch(/resets +1, last /);
    expect((await pyro(["reset", "fix-1", "--snapshot", "before"])).stderr).toContain(
      "the snapshots that it has: baseline",
    );
    expect((await pyro(["reset", "fix-1", "--snapshot", "baseline"])).stdout).toMatch(/resets +2, last /);
    expect((await pyro(["diff", "fix-1", "--stat"])).stdout).toBe("nothing changed\n");
    expect((await pyro(["delete", "fix-1"])).stdout).toBe(`workspace ${id} is deleted\n`);
    expect((await pyro(["status", "fix-1"])).stderr).toContain("WORKSPACE_NOT_FOUND");
  });

  it("file read counts bytes, cuts between characters, and says what is no UTF-8", async () => {
    await mkdir(host.path("repo"));
    await writeFile(host.path("repo/latin"), Buffer.from([0x61, 0xff, 0xc3, 0xa4, 0xc3, 0xa4]));
    await create("--name", "fix-1", "--seed-path", host.path("repo"));
    const latin = ["file", "read", "fix-1", "latin", "--max-bytes", "5"];
    expect((await pyro(latin)).stdout).toBe(
      "a\ufffdä\n[4 of 6 bytes; --offset 4 reads on; not all of it is UTF-8, export brings it as it is]\n",
    );
    expect(JSON.parse((await pyro([...latin, "--offset", "4", "--json"])).stdout)).toMatchObject({
      ...{ content: "ä", shown_bytes: 2, next_offset: 6, truncated: false, replaced: false },
    });
  });

  it("a diff is paged by its bytes, also where they are no UTF-8", async () => {
    await create("--name", "fix-1");
    await pyro(["exec", "fix-1", "--", "sh", "-c", "printf '\\377\\377\\n' > latin"]);
    const whole = JSON.parse((await pyro(["diff", "fix-1", "--json"])).stdout) as Record<string, number>;
    const bytes = whole["patch_bytes"] ?? 0;
    expect(whole["next_offset"]).toBe(bytes);
    const part = await pyro(["diff", "fix-1", "--max-bytes", String(bytes - 1)]);
    expect(part.stdout).toMatch(new RegExp(`\\[cut; --offset ${bytes - 1} reads on\\]\n$`));
  });

  it("shows names in one line, and on a terminal nothing that drives it; a program gets diffs as they are", async () => {
    await mkdir(host.path("repo"));
    await create("--name", "fix-1");
    await pyro(["file", "write", "fix-1", "n\n9 B  x", "--text", "\u001b[2Jcleared\n"]);
    const list = ["file", "list", "fix-1"];
    expect((await pyro(list)).stdout).toMatch(/^12 B +\/workspace\/n\^J9 B {2}x\n$/);
    expect((await pyro(["diff", "fix-1", "--stat"])).stdout).toContain("n^J9 B  x");
    expect((await pyro(["diff", "fix-1"])).stdout).toContain("+\u001b[2Jcleared\n");
    expect((await pyro(["diff", "fix-1"], { tty: true })).stdout).toContain("+^[[2Jcleared\n");
  });

  it("sync push says what came", async () => {
    await withProject();
    await mkdir(host.path("more"));
    await writeFile(host.path("more/file"), "pushed\n");
    expect((await pyro(["sync", "push", "fix-1", host.path("more"), "--dest", "docs"])).stdout).toBe(
      "1 entry, 7 B, to /workspace/docs\n",
    );
    expect((await pyro(["sync", "push", "fix-1", host.path("none")])).stderr).toContain("SEED_NOT_FOUND");
  });

  it("says which commands there are where one is mistyped, also of three words", async () => {
    expect((await pyro(["exce", "fix-1"])).stderr).toContain("unknown command");
    expect(await pyro(["create", "--name", ""])).toMatchObject({ status: 2 });
    expect((await pyro(["--help"])).stdout).toMatch(/file \[options\] +list, read, write, edit\n/);
  });
});
