import { expect, test } from "vitest";
import { chatHost, type StartCommand } from "../../../src/chat-hosts/index.js";
import { entryOf, FAKE_CLAUDE, homeWithHosts } from "../../fakes/chat-home.js";

const COMMAND: StartCommand = ["pyro", "mcp", "serve"];
const host = chatHost("claude-code");

test("keeps what else stands in the entry when it is mended, and passes it where nobody sees it", async () => {
  await using home = await homeWithHosts();
  const env = { TOKEN: "secret" };
  const pyro = { type: "stdio", command: "/old", args: ["mcp", "serve"], env, timeout: 5 };
  const before = { mcpServers: { a: { command: "x" }, pyro }, projects: { "/p": { x: [1] } } };
  await home.write(".claude.json", JSON.stringify(before, null, 2));
  await home.program("claude", `fs.appendFileSync(home + "/argv", args.join(" ") + "\\n");${FAKE_CLAUDE}`);
  const entry = await host.read(home.world);
  if (entry === undefined) throw new Error("no entry");
  expect(entry.env).toEqual(env);
  await host.mend(home.world, entry, COMMAND);
  const [command, ...args] = COMMAND;
  const { mcpServers, projects } = JSON.parse(await home.read(".claude.json")) as typeof before;
  expect(mcpServers).toEqual({ a: { command: "x" }, pyro: { ...pyro, command, args } });
  expect(projects).toEqual(before.projects);
  expect(await home.read("argv")).not.toContain("secret");
});

test("puts the old entry back when the new one is not taken", async () => {
  await using home = await homeWithHosts();
  const before = { mcpServers: { pyro: { type: "stdio", command: "/old", args: [] } } };
  await home.write(".claude.json", JSON.stringify(before));
  const refusing = FAKE_CLAUDE.replace(
    `servers[args[4]] = JSON.parse(fs.readFileSync(0, "utf8"));`,
    `const json = JSON.parse(fs.readFileSync(0, "utf8")); if (json.command === "pyro") fail("refused"); servers[args[4]] = json;`,
  );
  await home.program("claude", refusing);
  const entry = await host.read(home.world);
  if (entry === undefined) throw new Error("no entry");
  await expect(host.mend(home.world, entry, COMMAND)).rejects.toThrow(/refused/);
  expect(JSON.parse(await home.read(".claude.json"))).toEqual(before);
});

test("the project's own entry wins over .mcp.json, and that over the user's", async () => {
  await using home = await homeWithHosts();
  const entry = (command: string) => ({ pyro: { command, args: [] } });
  const project = home.at("checkout");
  await home.write("checkout/.git/HEAD", "ref: refs/heads/main\n");
  await home.write("checkout/sub/x", "");
  const world = { ...home.world, cwd: home.at("checkout", "sub") };
  const config = { mcpServers: entry("user"), projects: { [project]: { mcpServers: entry("local") } } };
  await home.write(".claude.json", JSON.stringify(config));
  await home.write("checkout/.mcp.json", JSON.stringify({ mcpServers: entry("project") }));
  expect(await host.read(world)).toMatchObject({ scope: "local", start: { command: ["local"] } });
  await home.write(".claude.json", JSON.stringify({ mcpServers: entry("user") }));
  expect(await host.read(world)).toMatchObject({ scope: "project", start: { command: ["project"] } });
  expect(await host.read(home.world)).toMatchObject({ scope: "user", start: { command: ["user"] } });
  // A worktree belongs to the checkout of its repository.
  await home.write("tree/.git", `gitdir: ${project}/.git/worktrees/tree\n`);
  await home.write("checkout/.git/worktrees/tree/HEAD", "ref: refs/heads/x\n");
  await home.write(".claude.json", JSON.stringify(config));
  expect(await host.read({ ...world, cwd: home.at("tree") })).toMatchObject({ scope: "local" });
});

test("its configuration lies where Claude Code looks for it", async () => {
  await using home = await homeWithHosts();
  const dir = home.at("elsewhere");
  const world = { ...home.world, env: { ...home.world.env, CLAUDE_CONFIG_DIR: dir } };
  expect(await host.configPath(world)).toBe(home.at("elsewhere/.claude.json"));
  await home.write(".claude/.config.json", "{}");
  expect(await host.configPath(home.world)).toBe(home.at(".claude/.config.json"));
});

test("what Claude Code would drop in silence is refused", async () => {
  await using home = await homeWithHosts();
  for (const text of ['{"mcpServers": []}', '{"projects": 1}', "[]", ""]) {
    await home.write(".claude.json", text);
    await expect(host.add(home.world, COMMAND)).rejects.toMatchObject({ code: "HOST_CONFIG_INVALID" });
    expect(await home.read(".claude.json")).toBe(text);
  }
});

test("its check tells the reason", async () => {
  await using home = await homeWithHosts();
  await home.program(
    "claude",
    `console.log("pyro:\\n  Status: \\u2718 Failed to connect\\n  Issue: ENOENT: no pyro");`,
  );
  const entry = entryOf(COMMAND);
  expect(await host.check(home.world, entry)).toEqual({
    by: "claude mcp get pyro",
    ok: false,
    says: "✘ Failed to connect: ENOENT: no pyro",
  });
});
