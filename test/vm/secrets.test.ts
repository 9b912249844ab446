import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CANARY, expectNowhere, filesWith, FORMS } from "./canary.js";
import { mcpSession, type Session } from "./mcp-session.js";
import { eventually, json, pyro, testState, type Result, type TestState } from "./support.js";

/** Prints the variable in every form, and drips it. */
const PRINTS = `
import base64, os, sys, time, urllib.parse
value = os.environ["TOKEN"]
print("plain", value)
for before in "", "a", "ab":
    print("base64", base64.b64encode((before + value).encode()).decode())
    print("base64url", base64.urlsafe_b64encode((before + value).encode()).decode())
print("wrapped", base64.encodebytes((value * 3).encode()).decode())
print("quoted", urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value))
print("all", "".join("%%%02X" % byte for byte in value.encode()))
for char in "drip " + value + " end":
    sys.stdout.write(char); sys.stdout.flush(); time.sleep(0.002)
print()
print("error", value, file=sys.stderr)
`;

describe("a secret that is given by a file", () => {
  let state: TestState;
  let project: string;
  let host: Session;
  const shown: string[] = [];
  beforeAll(async () => {
    state = await testState();
    project = await mkdtemp(join(tmpdir(), "pyro-project-"));
    await writeFile(join(project, "token.txt"), `${CANARY}\n`, { mode: 0o600 });
    const flags = ["--profile", "workspace-full", "--no-project-source", "--host-root", project];
    host = await mcpSession({ stateDir: state.path, cwd: project, flags });
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
    await rm(project, { recursive: true, force: true });
    await state[Symbol.asyncDispose]();
  });

  /** A call of a tool; all that it answers is searched at the end. */
  const call = async (name: string, args: Record<string, unknown>): Promise<string> => {
    const result = await host.client.callTool({ name, arguments: args }, { timeout: 50_000 });
    const text = JSON.stringify(result);
    shown.push(`${name}: ${text}`);
    return text;
  };
  const command = async (...args: string[]): Promise<Result> => {
    const result = await pyro(args, { stateDir: state.path });
    shown.push(`pyro ${args.join(" ")}: ${result.stdout.toString()} ${result.stderr}`);
    return result;
  };

  /** Waits until a command that begins so runs; its sequence. */
  const runs = async (name: string, begins: string): Promise<number> => {
    let sequence = 0;
    await eventually(`${begins} runs`, async () => {
      const last = json(await command("workspace", "status", name, "--json"))["last_command"];
      const seen = last as { command: string; sequence: number };
      sequence = seen.sequence;
      return seen.command.startsWith(begins);
    });
    return sequence;
  };

  it(
    "is found nowhere: no log, no file, no command line, no environment, no answer",
    { timeout: 300_000 },
    async () => {
      const created = json(
        await command(
          "workspace",
          "create",
          "debian:12",
          "--name",
          "by-cli",
          "--json",
          "--secret-file",
          `TOKEN=${join(project, "token.txt")}`,
        ),
      );
      expect(created["secrets"]).toEqual([{ name: "TOKEN", source_kind: "file" }]);
      await command(
        "workspace",
        "exec",
        "by-cli",
        "--",
        "sh",
        "-c",
        `cat >/root/prints.py <<'END'\n${PRINTS}\nEND\nsync`,
      );
      const printed = await command(
        "workspace",
        "exec",
        "by-cli",
        "--secret-env",
        "TOKEN",
        "--",
        "python3",
        "/root/prints.py",
      );
      expect([printed.code, printed.stderr]).toEqual([0, "error [REDACTED]\n"]);
      expect(printed.stdout.toString()).toMatch(/^plain \[REDACTED\]\nbase64 \S*\[REDACTED\]\S*\n/);
      expect(printed.stdout.toString()).toContain(
        "quoted [REDACTED] [REDACTED]\nall [REDACTED]\ndrip [REDACTED] end\n",
      );

      const secrets = [{ name: "TOKEN", file_path: "token.txt" }];
      const workspace_id = "by-mcp";
      const byTool = await call("workspace_create", { name: workspace_id, secrets });
      expect(byTool).toContain(`"secrets":[{"name":"TOKEN","source_kind":"file"}]`);
      await call("workspace_file_write", { workspace_id, path: "prints.py", text: PRINTS });
      const secret_env = { TOKEN: "TOKEN" };
      await call("workspace_exec", { workspace_id, secret_env, command: "python3 prints.py; sync" });
      expect(await call("workspace_exec", { workspace_id, command: 'echo "<$TOKEN>"' })).toContain("<>");
      expect(
        await call("workspace_exec", { workspace_id, secret_env: { NONE: "A" }, command: "true" }),
      ).toContain("SECRET_NOT_FOUND");
      // A process that holds it lives while the host is searched, disks and all: the guest wrote it nowhere yet.
      const holding = command(
        ...["workspace", "exec", "by-mcp", "--secret-env", "TOKEN", "--", "sleep", "300"],
      );
      const sequence = await runs("by-mcp", "sleep 300");
      await expectNowhere(state.path, []);
      // A service and a shell hold it as well.
      const serve = "sh -c 'echo \"serves $TOKEN\"; exec sleep 300'";
      await call("service_start", { workspace_id, service_name: "web", command: serve, secret_env });
      const opened = await call("shell_open", { workspace_id, secret_env });
      const shell_id = /"shell_id":"(sh-[0-9a-f]+)"/.exec(opened)?.[1] ?? "";
      const type = `printf '%s\\n' "<$TOKEN>"; printf %s "$TOKEN" | base64 -w0; echo; echo do''ne`;
      await call("shell_write", { workspace_id, shell_id, input: type });
      const reads = { workspace_id, shell_id, wait_for_idle_ms: 1_000 };
      await eventually("the shell shows it, masked", async () =>
        /<\[REDACTED\]\**>.*done/.test(await call("shell_read", { ...reads, plain: true })),
      );
      expect(await call("shell_read", reads)).toContain("<[REDACTED]");
      expect(await call("service_logs", { workspace_id, service_name: "web" })).toContain(
        "serves [REDACTED]",
      );
      await expectNowhere(state.path, []);
      await call("workspace_cancel", { workspace_id, sequence });
      expect((await holding).code).toBe(137);

      // From here on the guest has it on its own disk.
      const write = `printf 'key=%s\\n' "$TOKEN" >.env; printf %s "$TOKEN" | base64 -w0 >b64; ln -s "$TOKEN" link || true`;
      await call("workspace_exec", { workspace_id, secret_env, command: write });
      expect(await call("workspace_file_read", { workspace_id, path: ".env" })).toContain("key=[REDACTED]");
      await call("workspace_file_read", { workspace_id, path: ".env", offset: 9, max_bytes: 10 });
      await call("workspace_file_list", { workspace_id });
      expect(await call("workspace_diff", { workspace_id })).toContain("+key=[REDACTED]");
      await command("workspace", "diff", "by-mcp");
      const exported = await call("workspace_export", {
        workspace_id,
        path: "/workspace",
        output_path: "out",
      });
      expect(exported).toContain(`"secret_paths":[".env","b64","link"]`);
      expect(await readFile(join(project, "out/.env"), "utf8")).toBe(`key=${CANARY}\n`);
      const patch = `--- a/.env\n+++ b/.env\n@@ -1 +1 @@\n-key=other\n+key=\n`;
      expect(await call("workspace_patch_apply", { workspace_id, patch })).toContain("PATCH_DOES_NOT_APPLY");
      await call("workspace_file_edit", {
        workspace_id,
        path: ".env",
        old_text: "key=other value",
        new_text: "",
      });

      // The daemon dies while the command drips.
      const slow =
        "import os, sys, time\nfor char in os.environ['TOKEN'] + '\\n':\n sys.stdout.write(char); sys.stdout.flush(); time.sleep(0.08)";
      const following = command(
        "workspace",
        "exec",
        "by-mcp",
        "--secret-env",
        "TOKEN",
        "--",
        "python3",
        "-c",
        slow,
      );
      await runs("by-mcp", "python3 -c");
      // Some of it has come by then, on a quiet machine; at any instant the rest comes from the next daemon.
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      const { pid } = json(await command("daemon", "status", "--json")) as { pid: number };
      process.kill(pid, "SIGKILL");
      expect((await following).stdout.toString()).toBe("[REDACTED]\n");
      expect(await call("service_logs", { workspace_id, service_name: "web" })).toContain(
        "serves [REDACTED]",
      );
      await call("shell_read", { ...reads, cursor: 7 });
      const [id] = await ids(state.path, "by-mcp");
      const holders = join(state.path, "workspaces", String(id), "secret-holders.json");
      expect(await readFile(holders, "utf8")).toMatch(/"shell".*"service"|"service".*"shell"/);

      // Memory that live processes hold it in goes into no file, and into no copy, unless that is allowed by name.
      const refusals = [
        await call("workspace_stop", { workspace_id, suspend: true }),
        await call("workspace_fork", { workspace_id }),
      ];
      for (const refused of refusals)
        expect(refused).toMatch(/SECRET_IN_MEMORY: .*(shell.*service|service.*shell)/);
      expect(await ids(state.path, null)).toEqual([]);
      await expectNowhere(state.path, ["*.qcow2"]);
      // Where it is allowed, the result says what is in it; it is in that one file, and as long as that is there.
      const suspended = await call("workspace_stop", { workspace_id, suspend: true, allow_secrets: true });
      expect(suspended).toContain(`"secrets_in_memory":["TOKEN"]`);
      const memory = join(state.path, "workspaces", String(id), "memory");
      expect(await filesWith(memory, [])).toBe(`${memory}/memory\n`);
      await expectNowhere(state.path, ["*.qcow2", "memory"]);
      expect(await call("workspace_start", { workspace_id })).toContain(`"secrets_in_memory":[]`);
      const forked = await call("workspace_fork", { workspace_id, name_prefix: "copy", allow_secrets: true });
      expect(forked).toContain(`"secrets_in_memory":["TOKEN"]`);
      for (const each of [workspace_id, "copy-1"]) {
        const at = { workspace_id: each, shell_id };
        await call("shell_write", { ...at, input: 'echo "again <$TOKEN>" ag""ain' });
        await eventually("the shell goes on, masked", async () =>
          /again <\[REDACTED\]\**> again/.test(await call("shell_read", { ...reads, ...at, plain: true })),
        );
        const asked = { workspace_id: each, service_name: "web" };
        expect(await call("service_logs", asked)).toContain("serves [REDACTED]");
        expect(
          await call("workspace_exec", { workspace_id: each, secret_env, command: 'echo "got $TOKEN"' }),
        ).toContain("got [REDACTED]");
        // A copy holds it as the first does.
        expect(await call("workspace_stop", { workspace_id: each, suspend: true })).toContain(
          "SECRET_IN_MEMORY",
        );
      }
      await expectNowhere(state.path, ["*.qcow2"]);
      await call("workspace_delete", { workspace_id: "copy-1" });
      await call("shell_close", { workspace_id, shell_id });
      await call("service_stop", { workspace_id, service_name: "web" });
      // Nobody holds it any more: nothing has to be allowed. The guest has it in files, and so in its page cache.
      expect(await call("workspace_stop", { workspace_id, suspend: true })).toContain(
        `"secrets_in_memory":[]`,
      );
      await expectNowhere(state.path, ["*.qcow2", "memory"]);
      await call("workspace_start", { workspace_id });
      await call("workspace_logs", { workspace_id });
      await call("workspace_summary", { workspace_id });
      await call("workspace_exec", { workspace_id, secret_env, command: "python3 prints.py" });
      await call("workspace_reset", { workspace_id });
      expect(
        await call("workspace_exec", {
          workspace_id,
          secret_env,
          command: "python3 - <<'END'\n" + PRINTS + "\nEND",
        }),
      ).toContain("plain [REDACTED]");
      await call("workspace_stop", { workspace_id });
      await call("workspace_start", { workspace_id });
      expect(
        await call("workspace_exec", { workspace_id, secret_env, command: 'echo "got $TOKEN"' }),
      ).toContain("got [REDACTED]");
      const directory = join(state.path, "workspaces", String((await ids(state.path, "by-mcp"))[0]));
      const { mode } = await stat(join(directory, "secrets.json"));
      expect(mode & 0o777).toBe(0o600);
      await expectNowhere(state.path, ["*.qcow2"]);
      await call("workspace_delete", { workspace_id });
      await command("workspace", "list", "--json");
      await command("workspace", "delete", "by-cli");
      await command("daemon", "logs");
      expect(await readdir(join(state.path, "workspaces"))).toEqual([]);
      await expectNowhere(state.path, []);
      shown.push(`stderr: ${host.stderr()}`);
      for (const text of shown)
        for (const form of FORMS) expect(text.replaceAll("\\\\", "\\")).not.toContain(form);
      // Nor in pieces, as a window would cut it.
      for (const text of shown) expect(text).not.toContain(CANARY.slice(3, 20));
    },
  );
});

async function ids(stateDir: string, name: string | null): Promise<string[]> {
  const { workspaces } = json(await pyro(["workspace", "list", "--json"], { stateDir })) as {
    workspaces: { name: string | null; workspace_id: string }[];
  };
  return workspaces.filter((each) => each.name === name).map((each) => each.workspace_id);
}
