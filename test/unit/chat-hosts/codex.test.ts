import { expect, test } from "vitest";
import { chatHost, type StartCommand } from "../../../src/chat-hosts/index.js";
import { homeWithHosts } from "../../fakes/chat-home.js";

const COMMAND: StartCommand = ["pyro", "mcp", "serve"];
const host = chatHost("codex");
const FILE = ".codex/config.toml";
const TOML = `# mine\nmodel = "x"   # c\n\n[mcp_servers.other]   # o\ncommand = "foo" # f\n`;

test("is asked after an edit, and the file put back where it does not take it", async () => {
  await using home = await homeWithHosts();
  await home.write(FILE, TOML);
  await home.program(
    "codex",
    `console.error("Error: failed to load bootstrap configuration"); process.exit(1);`,
  );
  await expect(host.add(home.world, COMMAND)).rejects.toMatchObject({
    code: "HOST_CONFIG_INVALID",
    message: expect.stringContaining("failed to load bootstrap configuration") as string,
  });
  expect(await home.read(FILE)).toBe(TOML);
  await home.program("codex", `console.log(JSON.stringify({ transport: { command: "other" } }));`);
  await expect(host.add(home.world, COMMAND)).rejects.toMatchObject({ code: "HOST_CONFIG_NOT_WRITABLE" });
  expect(await home.read(FILE)).toBe(TOML);
});

test("is waited for where npx starts it, and nowhere else in the way of a session", async () => {
  await using home = await homeWithHosts();
  await host.add(home.world, COMMAND);
  expect(await home.read(FILE)).toBe('[mcp_servers.pyro]\ncommand = "pyro"\nargs = ["mcp", "serve"]\n');
  const { config } = await host.snippet(home.world, ["npx", "-y", "-p", "pyro-mcp", "pyro", "mcp", "serve"]);
  expect(config).toContain("required = true\nstartup_timeout_sec = 60");
});

test("its configuration lies where CODEX_HOME says", async () => {
  await using home = await homeWithHosts();
  const world = { ...home.world, env: { ...home.world.env, CODEX_HOME: home.at("c") } };
  expect(await host.configPath(world)).toBe(home.at("c/config.toml"));
});
