import { expect, test } from "vitest";
import { chatHost, type StartCommand } from "../../../src/chat-hosts/index.js";
import { entryOf, homeWithHosts } from "../../fakes/chat-home.js";

const COMMAND: StartCommand = ["pyro", "mcp", "serve"];
const host = chatHost("opencode");

const entry = (program: string): string =>
  JSON.stringify({ mcp: { pyro: { type: "local", command: [program] } } });

test("its files win in the order in which OpenCode merges them", async () => {
  await using home = await homeWithHosts();
  await home.write("checkout/.git/HEAD", "ref: refs/heads/main\n");
  await home.write("checkout/sub/x", "");
  const world = {
    ...home.world,
    cwd: home.at("checkout/sub"),
    env: { ...home.world.env, OPENCODE_CONFIG: home.at("named.json") },
  };
  const order = [
    ".config/opencode/config.json",
    ".config/opencode/opencode.json",
    ".config/opencode/opencode.jsonc",
    "named.json",
    "checkout/opencode.json",
    "checkout/opencode.jsonc",
    "checkout/sub/opencode.json",
    "checkout/sub/.opencode/opencode.json",
    "checkout/.opencode/opencode.jsonc",
  ];
  for (const file of order) {
    await home.write(file, entry(file));
    const read = await host.read(world);
    expect(read).toMatchObject({
      path: home.at(file),
      scope: /^(\.config|named)/.test(file) ? "user" : "project",
    });
  }
});

test("a new entry goes to the file that is there", async () => {
  await using home = await homeWithHosts();
  expect(await host.configPath(home.world)).toBe(home.at(".config/opencode/opencode.json"));
  await home.write(".config/opencode/opencode.jsonc", "{}");
  expect(await host.configPath(home.world)).toBe(home.at(".config/opencode/opencode.jsonc"));
  const world = { ...home.world, env: { ...home.world.env, XDG_CONFIG_HOME: home.at("x") } };
  expect(await host.configPath(world)).toBe(home.at("x/opencode/opencode.json"));
  const only = chatHost("opencode", home.at("project/opencode.json"));
  await only.add(home.world, COMMAND);
  expect(await only.read(home.world)).toMatchObject({ path: home.at("project/opencode.json") });
  expect(await host.read(home.world)).toBeUndefined();
});

test("its check tells the state and the reason", async () => {
  await using home = await homeWithHosts();
  const found = entryOf(COMMAND);
  await home.program(
    "opencode",
    `console.log("\\u25cf  \\u2717 pyro \\u001b[90mfailed\\n\\u2502      Executable not found\\n");`,
  );
  expect(await host.check(home.world, found)).toEqual({
    by: "opencode mcp list",
    ok: false,
    says: "failed: Executable not found",
  });
});

test("a list of servers that is none is refused", async () => {
  await using home = await homeWithHosts();
  await home.write(".config/opencode/opencode.json", '{"mcp": []}');
  await expect(host.add(home.world, COMMAND)).rejects.toThrow(/"mcp" is no object/);
});
