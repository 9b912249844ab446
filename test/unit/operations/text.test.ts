import { expect, test } from "vitest";
import { formatBytes, formatDuration, formatTable, visible } from "../../../src/operations/index.js";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [9_949, "9.9 kB"],
  [9_950, "10 kB"],
  [75_000_000, "75 MB"],
  [999_600, "1.0 MB"],
  [1_500_000_000, "1.5 GB"],
  [5e15, "5000 TB"],
])("%d bytes are %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [12, "12 ms"],
  [2_800, "2.8 s"],
  [185_000, "3 min 5 s"],
])("%d ms are %s", (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

test("columns line up and lines end where their text ends", () => {
  expect(
    formatTable([
      ["a", "bb", ""],
      ["ccc", "d", "e f"],
    ]),
  ).toBe("a    bb\nccc  d   e f");
});

test("control characters become visible, newlines and tabs stay", () => {
  expect(visible("a\u001b[2J\tb\n\u0000\u009b\u007f")).toBe("a^[[2J\tb\n^@\\x9b\\x7f");
});
