import { chmod, lstat, readlink, stat, symlink } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { chatHost, type StartCommand } from "../../../src/chat-hosts/index.js";
import { chatHome, homeWithHosts } from "../../fakes/chat-home.js";
import { readConfigFile, writeConfigFile } from "../../../src/chat-hosts/config-file.js";

const COMMAND: StartCommand = ["pyro", "mcp", "serve"];
const OTHER: StartCommand = ["/x y/pyro", "mcp", "serve", "--mode", "inspect"];

const TOML = `# mine\r\nmodel = "x"   # c\r\n\r\n[mcp_servers.other]   # o\r\ncommand = "foo" # f\r\nargs = [\r\n  "a", # i\r\n]\r\n`;
const JSONC = `{\r\n\t// mine\r\n\t"theme": "x", /* t */\r\n\t"mcp": {\r\n\t\t"other": { "type":"local", "command":["a"] }, // o\r\n\t},\r\n}\r\n`;

describe.each([
  ["codex", ".codex/config.toml", TOML],
  ["opencode", ".config/opencode/opencode.json", JSONC],
] as const)("the file of %s", (name, file, text) => {
  const host = chatHost(name);

  test.each([
    ["as it is", text],
    ["with a byte order mark", `\ufeff${text}`],
    ["with newlines only", text.replaceAll("\r\n", "\n")],
  ])("keeps every byte of others, %s", async (_, before) => {
    await using home = await homeWithHosts();
    await home.write(file, before, 0o640);
    const entry = await host.add(home.world, COMMAND);
    const added = await home.read(file);
    expect(without(name, added)).toBe(before);
    expect((await stat(home.at(file))).mode & 0o777).toBe(0o640);
    await host.mend(home.world, entry, OTHER);
    expect(without(name, await home.read(file))).toBe(before);
    await host.mend(home.world, entry, COMMAND);
    expect(await home.read(file)).toBe(added);
  });

  test("stays behind its link", async () => {
    await using home = await homeWithHosts();
    const real = await home.write("dotfiles/config", text);
    await home.write(`${file}.keep`, "");
    await symlink(real, home.at(file));
    await host.add(home.world, COMMAND);
    expect(await readlink(home.at(file))).toBe(real);
    expect((await lstat(real)).isFile()).toBe(true);
    expect(without(name, await home.read("dotfiles/config"))).toBe(text);
  });

  test("is left alone where it is read-only, or a link to nothing", async () => {
    await using home = await homeWithHosts();
    await home.write(file, text, 0o444);
    await expect(host.add(home.world, COMMAND)).rejects.toMatchObject({
      code: "HOST_CONFIG_NOT_WRITABLE",
      hint: `run \`chmod u+w ${home.at(file)}\``,
    });
    expect(await home.read(file)).toBe(text);
    await chmod(home.at(file), 0o644);
    await using other = await homeWithHosts();
    await other.write(`${file}.keep`, "");
    await symlink(other.at("nowhere"), other.at(file));
    await expect(chatHost("opencode", other.at(file)).add(other.world, COMMAND)).rejects.toThrow(
      /a link to nothing/,
    );
  });

  test("an entry that is switched off is switched on when it is mended", async () => {
    await using home = await homeWithHosts();
    const off =
      name === "codex"
        ? '[mcp_servers.pyro]\ncommand = "pyro"\nenabled = false # c\n'
        : '{"mcp":{"pyro":{"type":"local","command":["pyro"],"enabled":false /* c */}}}';
    await home.write(file, off);
    const entry = await host.read(home.world);
    if (entry === undefined) throw new Error("no entry");
    expect(entry.enabled).toBe(false);
    expect((await host.mend(home.world, entry, COMMAND)).enabled).toBe(true);
    expect(await home.read(file)).toMatch(/c/);
  });
});

/** The file without our entry, byte for byte. */
function without(name: "codex" | "opencode", text: string): string {
  return name === "codex"
    ? text.replace(/\r?\n\[mcp_servers\.pyro\][^[]*\[[^[]*$/, "")
    : text.replace(/\r?\n\t\t"pyro": \{[^}]*\},/, "");
}

test("a file that another changed meanwhile is not overwritten", async () => {
  await using home = await chatHome();
  const path = await home.write("x.json", "{}");
  const before = await readConfigFile(path);
  await home.write("x.json", '{"a": 1}');
  await expect(writeConfigFile(path, before, "{ }")).rejects.toMatchObject({
    code: "HOST_CONFIG_CHANGED",
    retryable: true,
  });
  expect(await home.read("x.json")).toBe('{"a": 1}');
});

test("a directory that cannot be made is named", async () => {
  await using home = await chatHome();
  await home.write("file", "");
  await expect(writeConfigFile(home.at("file/below/x.json"), undefined, "{}")).rejects.toMatchObject({
    code: "HOST_CONFIG_NOT_WRITABLE",
    message: expect.stringContaining("cannot be made (ENOTDIR)") as string,
  });
});
