import { readFileSync } from "node:fs";
import { mkdir, stat } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { chatHost, type ChatHostName, type StartCommand } from "../../../src/chat-hosts/index.js";
import { chatHome, entryOf, homeWithHosts } from "../../fakes/chat-home.js";

const COMMAND: StartCommand = ["pyro", "mcp", "serve"];
const OTHER: StartCommand = ["/x y/pyro", "mcp", "serve", "--mode", "inspect"];
const FILES: Record<ChatHostName, string> = {
  "claude-code": ".claude.json",
  codex: ".codex/config.toml",
  opencode: ".config/opencode/opencode.json",
};
const NAMES = Object.keys(FILES) as ChatHostName[];

describe.each(NAMES)("%s", (name) => {
  const host = chatHost(name);
  const file = FILES[name];

  test("has no entry in an empty home, then the one that was added, then the one that was mended", async () => {
    await using home = await homeWithHosts();
    expect(await host.read(home.world)).toBeUndefined();
    const added = await host.add(home.world, COMMAND);
    expect(added).toMatchObject({ path: home.at(file), scope: "user", enabled: true });
    expect(added.start).toEqual({ kind: "program", command: COMMAND });
    expect(await host.check(home.world, added)).toMatchObject({ ok: true });
    const mended = await host.mend(home.world, added, OTHER);
    expect(mended.start).toEqual({ kind: "program", command: OTHER });
    expect(await host.read(home.world)).toEqual(mended);
    expect(((await stat(home.at(file))).mode & 0o077).toString(8)).toBe(name === "opencode" ? "0" : "44");
  });

  test("a file that it cannot read is left as it is, with its place and the fix", async () => {
    await using home = await homeWithHosts();
    const broken = name === "codex" ? 'model = "x\n' : '{\n  "a": 1\n  "b": 2\n}\n';
    await home.write(file, broken);
    const invalid = expect.objectContaining({
      code: "HOST_CONFIG_INVALID",
      message: expect.stringContaining(`${home.at(file)}:${name === "codex" ? 1 : 3}:`) as string,
      hint: expect.stringContaining("mend line") as string,
    }) as Error;
    await expect(host.read(home.world)).rejects.toThrow(invalid);
    await expect(host.add(home.world, COMMAND)).rejects.toThrow(invalid);
    expect(await home.read(file)).toBe(broken);
  });

  test("what is no file, or no UTF-8, is refused unread", async () => {
    await using home = await homeWithHosts();
    await mkdir(home.at(file), { recursive: true });
    await expect(host.read(home.world)).rejects.toThrow(/it is no file/);
    await using other = await homeWithHosts();
    await other.write(file, Buffer.from([0x7b, 0xff, 0x7d]));
    await expect(host.read(other.world)).rejects.toThrow(/not UTF-8/);
  });

  test("an entry that the host cannot use is malformed, one elsewhere is remote", async () => {
    await using home = await homeWithHosts();
    const entries =
      name === "codex"
        ? [
            "[mcp_servers.pyro]\ncommand = 3\n",
            "[mcp_servers]\npyro = 1\n",
            '[mcp_servers.pyro]\nurl = "http://x"\n',
          ]
        : name === "opencode"
          ? [
              '{"mcp":{"pyro":{"command":"x"}}}',
              '{"mcp":{"pyro":1}}',
              '{"mcp":{"pyro":{"type":"remote","url":"http://x"}}}',
            ]
          : [
              '{"mcpServers":{"pyro":{"args":[1]}}}',
              '{"mcpServers":{"pyro":1}}',
              '{"mcpServers":{"pyro":{"type":"http","url":"http://x"}}}',
            ];
    const kinds = [];
    for (const text of entries) {
      await home.write(file, text);
      kinds.push((await host.read(home.world))?.start.kind);
    }
    expect(kinds).toEqual(["malformed", "malformed", "remote"]);
  });

  test("its snippet is what it reads", async () => {
    await using home = await homeWithHosts();
    const { config, path } = await host.snippet(home.world, OTHER);
    expect(path).toBe(home.at(file));
    await home.write(file, config);
    expect((await host.read(home.world))?.start).toEqual({ kind: "program", command: OTHER });
  });
});

describe("hosts that misbehave", () => {
  test("one that hangs is ended after its deadline, with all that it started", async () => {
    await using home = await chatHome({ commandMs: 300 });
    await home.program(
      "claude",
      `const child = require("node:child_process").spawn("sleep", ["60"]); fs.writeFileSync(home + "/pid", String(child.pid)); setInterval(() => {}, 1000);`,
    );
    await expect(chatHost("claude-code").add(home.world, COMMAND)).rejects.toMatchObject({
      code: "HOST_COMMAND_FAILED",
      message: "`claude mcp add --scope user pyro -- pyro mcp serve` did not end within 1 s",
    });
    const pid = Number(await home.read("pid").catch(() => "0"));
    if (pid > 0) await expect.poll(() => isAlive(pid), { timeout: 5_000 }).toBe(false);
  });

  test("one that fails is quoted, without colours and backtrace", async () => {
    await using home = await chatHome();
    await home.program(
      "claude",
      `console.error("\\u001b[31mno\\u001b[0m way\\n\\nStack backtrace:\\n 0: x"); process.exit(3);`,
    );
    await expect(chatHost("claude-code").add(home.world, COMMAND)).rejects.toMatchObject({
      code: "HOST_COMMAND_FAILED",
      message: "`claude mcp add --scope user pyro -- pyro mcp serve` failed (exit code 3): no way",
    });
  });

  test("one that says that all is well and did nothing is not believed", async () => {
    await using home = await chatHome();
    for (const name of ["claude", "codex"]) await home.program(name, `console.log("Added!");`);
    for (const name of ["claude-code", "codex"] as const)
      await expect(chatHost(name).add(home.world, COMMAND)).rejects.toThrow(/left no such entry in/);
  });

  test("one that prints garbage is not connected", async () => {
    await using home = await chatHome();
    for (const name of ["claude", "codex", "opencode"])
      await home.program(name, `console.log("\\u0000garbage");`);
    await home.write(".codex/config.toml", '[mcp_servers.pyro]\ncommand = "pyro"\n');
    const entry = entryOf(COMMAND);
    for (const name of NAMES)
      expect(await chatHost(name).check(home.world, entry)).toMatchObject({ ok: false });
  });

  test("one that is not there is named", async () => {
    await using home = await chatHome();
    await expect(chatHost("codex").add(home.world, COMMAND)).rejects.toMatchObject({
      code: "HOST_NOT_INSTALLED",
    });
  });
});

/** Also false for what is dead, and only not reaped yet. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
