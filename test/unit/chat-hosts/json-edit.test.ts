import { expect, test } from "vitest";
import { parseConfig } from "../../../src/chat-hosts/json-config.js";
import { setValues } from "../../../src/chat-hosts/json-edit.js";

const command = ["pyro", "mcp", "serve"];
const entry = { type: "local", enabled: true, command };
const add = (text: string) => setValues("/c.json", text, [{ at: ["mcp", "pyro"], value: entry }]);

/** What an edit inserted, if it only inserted: every other byte in its order. */
function isInsertion(before: string, after: string): boolean {
  let at = 0;
  for (const char of after) if (char === before[at]) at++;
  return at === before.length;
}

test.each([
  ["an empty file", ""],
  ["an empty object", "{}"],
  ["an empty object with a comment", "{\n  // mine\n}\n"],
  ["another key with a comment behind it", '{\n  "a": 1, // c\n}\n'],
  [
    "an entry of another on one line, a comma and a comment",
    '{\n  "mcp": {\n    "o": {"type":"local"}, // o\n  },\n}\n',
  ],
  ["an entry of another without a comma", '{\n\t"mcp": {\n\t\t"o": {"x": [1.50]} /* a */ // b\n\t}\n}'],
  ["everything on one line", '{"$schema":"x","mcp":{"o":1}}'],
  ["everything on one line, spaced, with a comma", '{ "mcp": { "o": 1, } }'],
  ["an empty object of servers", '{ "mcp": {} }'],
  ["Windows line ends", '{\r\n    "mcp": {\r\n        "o": 1 // c\r\n    }\r\n}\r\n'],
  ["a comment before the end", '{\n  "a": 1 /* z */\n  // end\n}\n'],
  ["a comment with a brace in it", '{\n  "mcp": { // } ,\n    "o": "//" /* } */\n  }\n}\n'],
])("adds an entry to %s and only inserts", (_, before) => {
  const after = add(before);
  expect(isInsertion(before, after)).toBe(true);
  const all = parseConfig("/c", after, { comments: true });
  expect(all["mcp"]).toEqual(expect.objectContaining({ pyro: entry }));
  const others = parseConfig("/c", before, { comments: true });
  const { pyro: _ours, ...left } = all["mcp"] as Record<string, unknown>;
  expect({ ...all, mcp: left }).toEqual({ mcp: {}, ...others });
  expect(after.includes("\r\n")).toBe(before.includes("\r\n"));
  expect(after.replaceAll("\r\n", "").includes("\r")).toBe(false);
  expect(after).toMatchSnapshot();
});

test("replaces one value where it stands, and nothing around it", () => {
  const before = '{"mcp":{"pyro":{"command":["a", /* x */ "b"], /* keep */ "timeout":5}, /* o */ "o":1}}';
  const after = setValues("/c", before, [{ at: ["mcp", "pyro", "command"], value: command }]);
  expect(after).toBe(
    '{"mcp":{"pyro":{"command":["pyro", "mcp", "serve"], /* keep */ "timeout":5}, /* o */ "o":1}}',
  );
});

test("adds a key to an entry that lacks it", () => {
  const before = '{\n  "mcp": {\n    "pyro": {\n      "type": "local" // t\n    }\n  }\n}\n';
  const after = setValues("/c", before, [{ at: ["mcp", "pyro", "command"], value: command }]);
  expect(after).toBe(
    '{\n  "mcp": {\n    "pyro": {\n      "type": "local", // t\n      "command": ["pyro", "mcp", "serve"]\n    }\n  }\n}\n',
  );
});

test("refuses a file in which a key stands twice", () => {
  expect(() => add('{"mcp": {"a": 1}, "mcp": {"b": 2}}')).toThrow(/does not take a value for mcp.pyro/);
});

test.each([
  ['{"a": 1 "b": 2}', 1, 9, "put a comma before it"],
  ['{\n  "a": 1,\n  "b" 2\n}', 3, 7, "put a colon before it"],
  ['{\n  "a": [1, 2\n}', 3, 1, "close the list with ]"],
  ['{"a": 1', 1, 8, "close the object with }"],
  ['{"a": "x\n}', 1, 7, 'close the text with "'],
  ['{"a": 1} {}', 1, 10, "take away what stands behind the end"],
  ['{"a": yes}', 1, 7, "put it in double quotes"],
])("names line, column and the fix of %j", (text, line, column, fix) => {
  expect(() => parseConfig("/h/c.json", text, { comments: true })).toThrow(
    expect.objectContaining({
      code: "HOST_CONFIG_INVALID",
      message: expect.stringContaining(`/h/c.json:${line}:${column}: it is not valid JSON(C)`) as string,
      hint: expect.stringContaining(fix) as string,
      details: expect.objectContaining({ path: "/h/c.json", line, column }) as object,
    }) as Error,
  );
});

test("comments and trailing commas are mistakes in strict JSON", () => {
  expect(() => parseConfig("/c", "{\n// x\n}", { comments: false })).toThrow(/c:2:1/);
  expect(() => parseConfig("/c", '{"a": 1,}', { comments: false })).toThrow(/not valid JSON/);
  expect(() => parseConfig("/c", "", { comments: false })).toThrow(/not valid JSON/);
  expect(() => parseConfig("/c", "[]", { comments: true })).toThrow(/holds no object/);
});
