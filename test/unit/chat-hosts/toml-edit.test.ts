import { expect, test } from "vitest";
import { appendTable, parseToml, setTableKeys, toToml } from "../../../src/chat-hosts/toml-edit.js";

const NAME = ["mcp_servers", "pyro"];
const keys = { command: toToml("pyro"), args: toToml(["mcp", "serve"]) };
const append = (text: string) => appendTable("/c.toml", text, NAME, keys);
const set = (text: string, given: Record<string, string> = keys) =>
  setTableKeys("/c.toml", text, NAME, given);

test.each([
  ["nothing", "", ""],
  ["a file with an end of line", '# c\nmodel = "x" # d\n', "\n"],
  ["a file without one", 'model = "x"', "\n\n"],
  ["Windows line ends", '[a] # t\r\nb = "x"\r\n', "\r\n"],
  ["servers of others with comments", '[mcp_servers.o]   # o\nargs = ["a",\n  "b", # i\n]\n', "\n"],
  ["servers of others by dotted keys", 'mcp_servers.o.command = "x"\n', "\n"],
])("appends a table to %s and keeps every byte", (_, before, gap) => {
  const eol = before.includes("\r\n") ? "\r\n" : "\n";
  const table = ["[mcp_servers.pyro]", 'command = "pyro"', 'args = ["mcp", "serve"]', ""].join(eol);
  expect(append(before)).toBe(`${before}${gap}${table}`);
});

test.each([
  ["an inline table of servers", 'mcp_servers = { o = { command = "x" } }\n'],
  ["a table that is there already", '[mcp_servers.pyro]\ncommand = "x"\n'],
])("refuses to append to %s", (_, text) => {
  expect(() => append(text)).toThrow(
    expect.objectContaining({
      code: "HOST_CONFIG_NOT_WRITABLE",
      hint: expect.stringContaining("print-config codex") as string,
    }) as Error,
  );
});

test("sets keys where they stand; comments, other keys and other tables stay byte for byte", () => {
  const before = [
    "# mine",
    "[mcp_servers.o]   # other",
    'command = "pyro" # not ours',
    "",
    '[ mcp_servers . "pyro" ]  # ours',
    "# inside",
    '  command = "/old/pyro"   # c # d',
    "args = [ # first",
    '  "mcp", # [x]',
    '  "serve",',
    "]   # last",
    "required = true  # keep",
    'env = { A = "#" }',
    "",
    "# of the next one",
    "[mcp_servers.pyro.tools.vm_run]",
    'approval_mode = "approve"',
    "",
  ].join("\n");
  const after = before
    .replace('"/old/pyro"   #', '"pyro"   #')
    .replace('args = [ # first\n  "mcp", # [x]\n  "serve",\n]   # last', 'args = ["mcp", "serve"]   # last');
  expect(set(before)).toBe(after);
});

test("adds keys that are not there behind the last one", () => {
  const before = '[mcp_servers.pyro]\r\ncommand = "x"\r\n\r\n# next\r\n[a]\r\n';
  expect(set(before, { ...keys, required: "true" })).toBe(
    '[mcp_servers.pyro]\r\ncommand = "pyro"\r\nargs = ["mcp", "serve"]\r\nrequired = true\r\n\r\n# next\r\n[a]\r\n',
  );
});

test("a header at the end of the file takes keys", () => {
  expect(set("[mcp_servers.pyro]")).toBe('[mcp_servers.pyro]\ncommand = "pyro"\nargs = ["mcp", "serve"]');
});

test.each([
  ["dotted keys", 'mcp_servers.pyro.command = "x"\n'],
  ["an inline table", '[mcp_servers]\npyro = { command = "x" }\n'],
  ["a header that only stands in a text", 'a = """\n[mcp_servers.pyro]\n"""\n'],
])("refuses to set keys of %s", (_, text) => {
  expect(() => set(text)).toThrow(/no place where \[mcp_servers\.pyro\]/);
});

test("quotes what TOML would read otherwise", () => {
  const words = ['a "b"', "c\\d", "é\u007f\n", "#"];
  expect(parseToml("/c", `x = ${toToml(words)}`)).toEqual({ x: words });
});

test("names line, column and the fix of what is no TOML", () => {
  expect(() => parseToml("/h/config.toml", 'a = 1\nmodel = "x\n[[[')).toThrow(
    expect.objectContaining({
      code: "HOST_CONFIG_INVALID",
      message: expect.stringMatching(
        /^\/h\/config\.toml:2:\d+: it is not valid TOML: .*left as it is$/,
      ) as string,
      hint: expect.stringMatching(
        /^mend line 2 of \/h\/config\.toml, column \d+: .*, then try again$/,
      ) as string,
    }) as Error,
  );
});
