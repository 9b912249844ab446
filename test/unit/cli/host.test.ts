import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { cli } from "../../fakes/cli-host.js";
import { FILES, HOSTS, LAUNCHER, useChatHome } from "../../fakes/cli-chat-home.js";

const on = useChatHome();

describe.each(HOSTS)("pyro host connect %s", (name) => {
  test("writes the entry once, then says that it is there", async () => {
    const first = await on.host("connect", name);
    expect({ ...first, stdout: on.shown(first.stdout) }).toMatchObject({ status: 0, stderr: "" });
    expect(on.shown(first.stdout)).toMatchSnapshot();
    const written = await on.home.read(FILES[name]);
    const second = await on.json("connect", name);
    expect(second).toMatchObject({
      host: name,
      changed: false,
      command: [LAUNCHER, "mcp", "serve"],
      scope: "user",
    });
    expect(await on.home.read(FILES[name])).toBe(written);
  });

  test("does not touch an entry that says something else, and names repair", async () => {
    await on.host("connect", name, "--mode", "inspect");
    const written = await on.home.read(FILES[name]);
    const { status, stderr } = await on.host("connect", name, "--profile", "vm-run", "--npx");
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^HOST_ENTRY_DIFFERS: .* has an entry pyro already, in .* `.*bin\/pyro mcp serve --mode inspect`\n/,
    );
    expect(stderr).toContain(`hint: \`pyro host repair ${name} --profile vm-run --npx\` changes it`);
    expect(await on.home.read(FILES[name])).toBe(written);
  });

  test("repair mends a drifted entry, keeps valid options, and takes new ones", async () => {
    const given = ["--mode", "inspect", "--environment", "debian:12-base"];
    await on.host("connect", name, ...given);
    const written = await on.home.read(FILES[name]);
    const broken = written.replace(LAUNCHER, "/gone/bin/pyro").replace('"--mode"', '"--bogus", "--mode"');
    await on.home.write(FILES[name], broken);
    const { state, problems, hint } = await on.report(name);
    expect({ state, problems, hint }).toEqual({
      state: "drifted",
      problems: [
        "/gone/bin/pyro is not there, or cannot be started",
        "`pyro mcp serve` has no option --bogus",
      ],
      hint: `run \`pyro host repair ${name}\``,
    });
    const repaired = await on.host("repair", name);
    expect(on.shown(repaired.stdout)).toMatchSnapshot();
    expect(JSON.parse(JSON.stringify(await on.home.read(FILES[name])))).toBe(written);
    const changed = await on.json(
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
    const source = await on.json("repair", name, "--no-project-source");
    expect((source["command"] as string[]).slice(-1)).toEqual(["--no-project-source"]);
  });

  test("an invalid file is left as it is by connect, repair and doctor, with the fix", async () => {
    const broken = name === "codex" ? "[mcp_servers\n" : '{\n  "x": [1,\n}\n';
    await on.home.write(FILES[name], broken);
    for (const verb of ["connect", "repair"]) {
      const { status, stderr } = await on.host(verb, name);
      expect(status).toBe(1);
      expect(stderr).toMatch(
        /^HOST_CONFIG_INVALID: .*:\d+:\d+: it is not valid .*; the file was left as it is\nhint: mend line \d+ of .*, column \d+: .*, then try again\n$/,
      );
    }
    const { status, stdout } = await on.host("doctor");
    expect(status).toBe(1);
    expect(stdout).toContain(`${name}: config-invalid`);
    expect(await on.home.read(FILES[name])).toBe(broken);
  });
});

describe("the entry", () => {
  test("starts pyro by its name where PATH finds this one, else by its place", async () => {
    const command = async (...args: string[]) =>
      (await on.json("print-config", "generic", ...args))["command"];
    expect(await command()).toEqual([LAUNCHER, "mcp", "serve"]);
    await symlink(LAUNCHER, join(on.home.bin, "pyro"));
    expect(await command()).toEqual(["pyro", "mcp", "serve"]);
    expect(await command("--npx")).toEqual(["npx", "-y", "-p", "pyro-mcp", "pyro", "mcp", "serve"]);
    // What npm and npx put on the PATH of their children is not there for the host.
    const npm = on.home.at("node_modules/.bin");
    await mkdir(npm, { recursive: true });
    await symlink(LAUNCHER, join(npm, "pyro"));
    vi.stubEnv("PATH", `${npm}:/usr/bin:/bin`);
    expect(await command()).toEqual([LAUNCHER, "mcp", "serve"]);
  });

  test("has absolute paths, and the state directory that was given", async () => {
    await on.home.write("repo/.git/HEAD", "ref: refs/heads/main\n");
    vi.spyOn(process, "cwd").mockReturnValue(on.home.at());
    const { stdout } = await cli([
      ...["--state-dir", on.home.at("state"), "host", "print-config", "generic", "--json"],
      ...["--project-path", on.home.at("repo")],
    ]);
    expect((JSON.parse(stdout) as { command: string[] }).command.slice(1)).toEqual([
      ...["--state-dir", on.home.at("state"), "mcp", "serve", "--project-path", on.home.at("repo")],
    ]);
    const { status, stderr } = await on.host("connect", "codex", "--project-path", on.home.at("none"));
    expect({ status, stderr }).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("PROJECT_NOT_FOUND") as string,
    });
  });
});

test("a password in a URL is written and never shown", async () => {
  const url = "https://me:hunter2@example.org/x.git";
  const runs = [
    await on.host("connect", "opencode", "--repo-url", url),
    await on.host("connect", "opencode", "--npx"),
    await on.host("doctor", "--json"),
    await on.host("doctor"),
    await on.host("repair", "opencode", "--environment", "debian:12-base"),
  ];
  expect(runs.map(({ stdout, stderr }) => stdout + stderr).join("")).not.toContain("hunter2");
  expect(runs[0]?.stdout).toContain("--repo-url https://example.org/x.git");
  expect(await on.home.read(FILES.opencode)).toContain(url);
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
    const { status, stderr } = await on.host(...args);
    expect(status).toBe(2);
    expect(stderr).toContain(says);
  });

  test("connect and repair need the host, and repair an entry", async () => {
    expect((await on.host("repair", "codex")).stderr).toMatch(
      /^HOST_NOT_CONNECTED: .*\nhint: run `pyro host connect codex`/,
    );
    vi.stubEnv("PATH", "/usr/bin:/bin");
    for (const verb of ["connect", "repair"])
      expect((await on.host(verb, "codex")).stderr).toMatch(
        /^HOST_NOT_INSTALLED: Codex is not installed.*\nhint: install it with `npm install -g @openai\/codex`/,
      );
  });
});

describe("pyro host print-config", () => {
  test.each([...HOSTS, "generic"])("%s", async (name) => {
    const { status, stdout } = await on.host(
      "print-config",
      name,
      "--mode",
      "inspect",
      "--repo-url",
      "https://x.test/a b",
    );
    expect(status).toBe(0);
    expect(on.shown(stdout)).toMatchSnapshot();
  });

  test("--output writes a new file, and never over another", async () => {
    const path = on.home.at("mcp.json");
    expect((await on.host("print-config", "generic", "--output", path)).stdout).toBe(`written to ${path}\n`);
    expect(JSON.parse(await on.home.read("mcp.json"))).toEqual({
      mcpServers: { pyro: { command: LAUNCHER, args: ["mcp", "serve"] } },
    });
    await writeFile(path, "mine");
    expect((await on.host("print-config", "generic", "--output", path)).stderr).toContain(
      "cannot be written: EEXIST",
    );
    expect(await on.home.read("mcp.json")).toBe("mine");
  });

  test("connect opencode --output edits the file that is named, installed or not", async () => {
    vi.stubEnv("PATH", "/usr/bin:/bin");
    const path = await on.home.write("project/opencode.json", "{ /* mine */ }");
    expect((await on.host("connect", "opencode", "--output", path)).status).toBe(0);
    expect(await on.home.read("project/opencode.json")).toContain("/* mine */");
    expect((await on.json("connect", "opencode", "--output", path))["changed"]).toBe(false);
  });
});
