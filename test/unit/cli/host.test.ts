import { mkdir, realpath, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  chatHome,
  FAKE_CLAUDE,
  FAKE_CODEX,
  FAKE_OPENCODE,
  fakeServer,
  type ChatHome,
} from "../../fakes/chat-home.js";
import { cli } from "../../fakes/cli-host.js";

const LAUNCHER = join(import.meta.dirname, "../../../bin/pyro");
const HOSTS = ["claude-code", "codex", "opencode"] as const;
const FILES = {
  "claude-code": ".claude.json",
  codex: ".codex/config.toml",
  opencode: ".config/opencode/opencode.json",
};

let home: ChatHome;
let cwd: string;
beforeEach(async () => {
  home = await chatHome();
  await home.program("claude", FAKE_CLAUDE);
  await home.program("codex", FAKE_CODEX);
  await home.program("opencode", FAKE_OPENCODE);
  cwd = await realpath(home.world.cwd);
  vi.stubEnv("HOME", home.at());
  vi.stubEnv("PATH", home.world.env["PATH"] ?? "");
  for (const name of ["CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "OPENCODE_CONFIG"])
    vi.stubEnv(name, undefined);
  vi.spyOn(process, "cwd").mockReturnValue(cwd);
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await home[Symbol.asyncDispose]();
});

const host = (...args: string[]) => cli(["host", ...args]);
const json = async (...args: string[]): Promise<Record<string, unknown>> =>
  JSON.parse((await host(...args, "--json")).stdout) as Record<string, unknown>;
/** The report of one host. */
const report = async (name: string): Promise<Record<string, unknown>> =>
  ((await json("doctor", name))["hosts"] as Record<string, unknown>[])[0] ?? {};
/** Shown paths are those of this run. */
const shown = (text: string): string =>
  text.replaceAll(home.at(), "~").replaceAll(LAUNCHER, "/checkout/bin/pyro");
/** A `pyro` that serves stands where the launcher's path is written. */
const serving = async (name = "pyro"): Promise<string> => await home.program("pyro", fakeServer(name));

describe.each(HOSTS)("pyro host connect %s", (name) => {
  test("writes the entry once, then says that it is there", async () => {
    const first = await host("connect", name);
    expect({ ...first, stdout: shown(first.stdout) }).toMatchObject({ status: 0, stderr: "" });
    expect(shown(first.stdout)).toMatchSnapshot();
    const written = await home.read(FILES[name]);
    const second = await json("connect", name);
    expect(second).toMatchObject({
      host: name,
      changed: false,
      command: [LAUNCHER, "mcp", "serve"],
      scope: "user",
    });
    expect(await home.read(FILES[name])).toBe(written);
  });

  test("does not touch an entry that says something else, and names repair", async () => {
    await host("connect", name, "--mode", "inspect");
    const written = await home.read(FILES[name]);
    const { status, stderr } = await host("connect", name, "--profile", "vm-run", "--npx");
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^HOST_ENTRY_DIFFERS: .* has an entry pyro already, in .* `.*bin\/pyro mcp serve --mode inspect`\n/,
    );
    expect(stderr).toContain(`hint: \`pyro host repair ${name} --profile vm-run --npx\` changes it`);
    expect(await home.read(FILES[name])).toBe(written);
  });

  test("repair mends a drifted entry, keeps valid options, and takes new ones", async () => {
    const given = ["--mode", "inspect", "--environment", "debian:12-base"];
    await host("connect", name, ...given);
    const written = await home.read(FILES[name]);
    const broken = written.replace(LAUNCHER, "/gone/bin/pyro").replace('"--mode"', '"--bogus", "--mode"');
    await home.write(FILES[name], broken);
    const { state, problems, hint } = await report(name);
    expect({ state, problems, hint }).toEqual({
      state: "drifted",
      problems: [
        "/gone/bin/pyro is not there, or cannot be started",
        "`pyro mcp serve` has no option --bogus",
      ],
      hint: `run \`pyro host repair ${name}\``,
    });
    const repaired = await host("repair", name);
    expect(shown(repaired.stdout)).toMatchSnapshot();
    expect(JSON.parse(JSON.stringify(await home.read(FILES[name])))).toBe(written);
    const changed = await json(
      "repair",
      name,
      "--repo-url",
      "https://example.org/x.git",
      "--profile",
      "workspace-core",
    );
    expect(changed["command"]).toEqual([
      ...[LAUNCHER, "mcp", "serve", "--profile", "workspace-core", "--environment", "debian:12-base"],
      ...["--repo-url", "https://example.org/x.git"],
    ]);
    const source = await json("repair", name, "--no-project-source");
    expect((source["command"] as string[]).slice(-1)).toEqual(["--no-project-source"]);
  });

  test("an invalid file is left as it is by connect, repair and doctor, with the fix", async () => {
    const broken = name === "codex" ? "[mcp_servers\n" : '{\n  "x": [1,\n}\n';
    await home.write(FILES[name], broken);
    for (const verb of ["connect", "repair"]) {
      const { status, stderr } = await host(verb, name);
      expect(status).toBe(1);
      expect(stderr).toMatch(
        /^HOST_CONFIG_INVALID: .*:\d+:\d+: it is not valid .*; the file was left as it is\nhint: mend line \d+ of .*, column \d+: .*, then try again\n$/,
      );
    }
    const { status, stdout } = await host("doctor");
    expect(status).toBe(1);
    expect(stdout).toContain(`${name}: config-invalid`);
    expect(await home.read(FILES[name])).toBe(broken);
  });
});

describe("pyro host doctor", () => {
  test("where no host is installed there is nothing to mend, unless it was asked for", async () => {
    vi.stubEnv("PATH", "/usr/bin:/bin");
    const { status, stdout } = await host("doctor");
    expect(status).toBe(0);
    expect(shown(stdout)).toMatchSnapshot();
    expect((await host("doctor", "codex")).status).toBe(1);
  });

  test("a host without the entry is not connected", async () => {
    const { status, stdout } = await host("doctor");
    expect(status).toBe(0);
    expect(stdout).toMatch(/claude-code: not-connected\n.*\n {2}hint {5}run `pyro host connect claude-code`/);
    expect((await host("doctor", "opencode")).status).toBe(1);
  });

  test("starts the server of each entry, and names the project source", async () => {
    const pyro = await serving();
    for (const name of HOSTS) await host("connect", name);
    for (const name of HOSTS)
      await home.write(FILES[name], (await home.read(FILES[name])).replace(LAUNCHER, pyro));
    const { status, stdout } = await host("doctor");
    expect(stdout).toContain("everything is in order");
    expect(status).toBe(0);
    expect(await report("codex")).toMatchObject({
      state: "connected",
      server: { name: "pyro", version: "1", tools: 2 },
      project_source: "/x (Git checkout, branch main)",
      host_check: { by: "codex mcp get pyro --json", ok: true },
    });
  });

  test("an entry whose server fails is failing, with its words; this pyro takes its place by repair", async () => {
    const pyro = await home.program(
      "pyro",
      `console.error("PROJECT_NOT_FOUND: none here"); process.exit(125);`,
    );
    await home.write(FILES.codex, `[mcp_servers.pyro]\ncommand = "${pyro}"\nargs = ["mcp", "serve"]\n`);
    expect(await report("codex")).toMatchObject({
      state: "failing",
      problems: ["the server: it ended with exit code 125: PROJECT_NOT_FOUND: none here"],
      hint: "run `pyro host repair codex`",
    });
    expect(await json("repair", "codex")).toMatchObject({
      changed: true,
      command: [LAUNCHER, "mcp", "serve"],
    });
  });

  test("a server that prints what is no JSON-RPC, or answers with an error, is failing", async () => {
    const pyro = await home.program("pyro", `console.log("hello"); setTimeout(() => {}, 5000);`);
    await home.write(FILES.codex, `[mcp_servers.pyro]\ncommand = "${pyro}"\nargs = ["mcp", "serve"]\n`);
    expect((await report("codex"))["problems"]).toEqual([
      'the server: it prints what is no JSON-RPC: "hello"',
    ]);
    await home.program(
      "pyro",
      `console.log(JSON.stringify({ id: 1, error: { message: "no" } })); setTimeout(() => {}, 5000);`,
    );
    expect((await report("codex"))["problems"]).toEqual(["the server: it answers with an error: no"]);
  });

  test("what the host itself says counts", async () => {
    const pyro = await serving();
    await home.write(
      FILES.opencode,
      JSON.stringify({ mcp: { pyro: { type: "local", command: [pyro, "mcp", "serve"] } } }),
    );
    await home.program("opencode", `console.log("  x pyro failed\\n   no way");`);
    expect(await report("opencode")).toMatchObject({
      state: "failing",
      problems: ["`opencode mcp list` says: failed: no way"],
    });
  });

  test("an entry of the user's own making is connected where it starts pyro, and drifted where it does not", async () => {
    const pyro = await serving();
    const entry = (command: string): string => `[mcp_servers.pyro]\ncommand = "${command}"\nargs = ["x"]\n`;
    await home.write(FILES.codex, entry(pyro));
    expect(await report("codex")).toMatchObject({ state: "connected" });
    expect(await json("repair", "codex")).toMatchObject({ changed: false });
    await serving("weather");
    expect(await report("codex")).toMatchObject({ state: "drifted" });
    const { status, stderr } = await host("repair", "codex");
    expect({ status, stderr }).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("starts another server, weather") as string,
    });
    expect(await home.read(FILES.codex)).toBe(entry(pyro));
    await home.write(FILES.codex, entry("/bin/true"));
    expect((await report("codex"))["problems"]).toEqual([
      expect.stringMatching(
        /^it starts `\/bin\/true x`, which is not pyro: it ended with exit code 0/,
      ) as string,
    ]);
    expect(await json("repair", "codex")).toMatchObject({
      changed: true,
      command: [LAUNCHER, "mcp", "serve"],
    });
  });

  test.each([
    ["malformed", "[mcp_servers.pyro]\ncommand = 3\n", "it is malformed: its command is 3"],
    [
      "switched off",
      `[mcp_servers.pyro]\ncommand = "${LAUNCHER}"\nargs = ["mcp", "serve"]\nenabled = false\n`,
      "it is switched off",
    ],
    [
      "a name that PATH does not know",
      '[mcp_servers.pyro]\ncommand = "pyro"\nargs = ["mcp", "serve"]\n',
      "`pyro` is not on PATH",
    ],
    [
      "npx without npx",
      '[mcp_servers.pyro]\ncommand = "nopx"\nargs = ["-y", "-p", "pyro-mcp", "pyro", "mcp", "serve"]\n',
      "`nopx` is not on PATH",
    ],
    [
      "a script that is gone",
      `[mcp_servers.pyro]\ncommand = "${process.execPath}"\nargs = ["/gone/pyro", "mcp", "serve"]\n`,
      "/gone/pyro is not there",
    ],
    [
      "contradictions",
      `[mcp_servers.pyro]\ncommand = "${LAUNCHER}"\nargs = ["mcp", "serve", "--profile", "vm-run", "--mode", "inspect"]\n`,
      "--mode excludes --profile",
    ],
    [
      "a project that is gone",
      `[mcp_servers.pyro]\ncommand = "${LAUNCHER}"\nargs = ["mcp", "serve", "--project-path", "/gone"]\n`,
      "--project-path /gone is in no Git checkout any more",
    ],
  ])("an entry that is %s drifted, and repair mends it", async (_, text, problem) => {
    await home.write(FILES.codex, text);
    expect(await report("codex")).toMatchObject({ state: "drifted", problems: [problem] });
    const { command, mended } = await json("repair", "codex");
    expect(mended).toEqual([problem]);
    expect((command as string[])[0]).toBe(LAUNCHER);
    expect(await home.read(FILES.codex)).not.toContain("/gone");
  });

  test("a server elsewhere is not mended", async () => {
    await home.write(FILES.codex, '[mcp_servers.pyro]\nurl = "http://127.0.0.1:1/mcp"\n');
    expect(await report("codex")).toMatchObject({
      state: "drifted",
      problems: ["it names a server elsewhere: http://127.0.0.1:1/mcp"],
    });
    expect((await host("repair", "codex")).stderr).toMatch(/^HOST_ENTRY_DIFFERS: .*left as it is/);
  });
});

describe("the entry", () => {
  test("starts pyro by its name where PATH finds this one, else by its place", async () => {
    const command = async (...args: string[]) => (await json("print-config", "generic", ...args))["command"];
    expect(await command()).toEqual([LAUNCHER, "mcp", "serve"]);
    await symlink(LAUNCHER, join(home.bin, "pyro"));
    expect(await command()).toEqual(["pyro", "mcp", "serve"]);
    expect(await command("--npx")).toEqual(["npx", "-y", "-p", "pyro-mcp", "pyro", "mcp", "serve"]);
    // What npm and npx put on the PATH of their children is not there for the host.
    const npm = home.at("node_modules/.bin");
    await mkdir(npm, { recursive: true });
    await symlink(LAUNCHER, join(npm, "pyro"));
    vi.stubEnv("PATH", `${npm}:/usr/bin:/bin`);
    expect(await command()).toEqual([LAUNCHER, "mcp", "serve"]);
  });

  test("has absolute paths, and the state directory that was given", async () => {
    await home.write("repo/.git/HEAD", "ref: refs/heads/main\n");
    vi.spyOn(process, "cwd").mockReturnValue(home.at());
    const { stdout } = await cli([
      ...["--state-dir", home.at("state"), "host", "print-config", "generic", "--json"],
      ...["--project-path", home.at("repo")],
    ]);
    expect((JSON.parse(stdout) as { command: string[] }).command.slice(1)).toEqual([
      ...["--state-dir", home.at("state"), "mcp", "serve", "--project-path", home.at("repo")],
    ]);
    const { status, stderr } = await host("connect", "codex", "--project-path", home.at("none"));
    expect({ status, stderr }).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("PROJECT_NOT_FOUND") as string,
    });
  });
});

test("a password in a URL is written and never shown", async () => {
  const url = "https://me:hunter2@example.org/x.git";
  const runs = [
    await host("connect", "opencode", "--repo-url", url),
    await host("connect", "opencode", "--npx"),
    await host("doctor", "--json"),
    await host("doctor"),
    await host("repair", "opencode", "--environment", "debian:12-base"),
  ];
  expect(runs.map(({ stdout, stderr }) => stdout + stderr).join("")).not.toContain("hunter2");
  expect(runs[0]?.stdout).toContain("--repo-url https://example.org/x.git");
  expect(await home.read(FILES.opencode)).toContain(url);
});

describe("usage", () => {
  test.each([
    [["connect", "codex", "--profile", "vm-run", "--mode", "inspect"], "--mode: excludes --profile"],
    [["connect", "codex", "--repo-ref", "x"], "--repo-ref: needs --repo-url"],
    [["connect", "codex", "--project-path", ".", "--repo-url", "x"], "--repo-url: excludes --project-path"],
    [["connect", "codex", "--no-project-source", "--repo-url", "x"], "--no-project-source: excludes"],
    [["connect", "claude-code", "--output", "x"], "--output: claude-code has one configuration"],
    [["connect", "emacs"], 'expected one of "claude-code"|"codex"|"opencode" (given "emacs")'],
    [["doctor", "emacs"], 'expected one of "claude-code"|"codex"|"opencode" (given "emacs")'],
    [["connect"], "missing required argument 'host'"],
  ])("%j is wrong usage", async (args, says) => {
    const { status, stderr } = await host(...args);
    expect(status).toBe(2);
    expect(stderr).toContain(says);
  });

  test("connect and repair need the host, and repair an entry", async () => {
    expect((await host("repair", "codex")).stderr).toMatch(
      /^HOST_NOT_CONNECTED: .*\nhint: run `pyro host connect codex`/,
    );
    vi.stubEnv("PATH", "/usr/bin:/bin");
    for (const verb of ["connect", "repair"])
      expect((await host(verb, "codex")).stderr).toMatch(
        /^HOST_NOT_INSTALLED: Codex is not installed.*\nhint: install it with `npm install -g @openai\/codex`/,
      );
  });
});

describe("pyro host print-config", () => {
  test.each([...HOSTS, "generic"])("%s", async (name) => {
    const { status, stdout } = await host(
      "print-config",
      name,
      "--mode",
      "inspect",
      "--repo-url",
      "https://x.test/a b",
    );
    expect(status).toBe(0);
    expect(shown(stdout)).toMatchSnapshot();
  });

  test("--output writes a new file, and never over another", async () => {
    const path = home.at("mcp.json");
    expect((await host("print-config", "generic", "--output", path)).stdout).toBe(`written to ${path}\n`);
    expect(JSON.parse(await home.read("mcp.json"))).toEqual({
      mcpServers: { pyro: { command: LAUNCHER, args: ["mcp", "serve"] } },
    });
    await writeFile(path, "mine");
    expect((await host("print-config", "generic", "--output", path)).stderr).toContain(
      "cannot be written: EEXIST",
    );
    expect(await home.read("mcp.json")).toBe("mine");
  });

  test("connect opencode --output edits the file that is named, installed or not", async () => {
    vi.stubEnv("PATH", "/usr/bin:/bin");
    const path = await home.write("project/opencode.json", "{ /* mine */ }");
    expect((await host("connect", "opencode", "--output", path)).status).toBe(0);
    expect(await home.read("project/opencode.json")).toContain("/* mine */");
    expect((await json("connect", "opencode", "--output", path))["changed"]).toBe(false);
  });
});
