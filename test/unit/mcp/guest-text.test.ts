import { expect, test } from "vitest";
import { fitHead, fitTail, toGuestText } from "../../../src/mcp/guest-text.js";

const safe = (text: string | Uint8Array) => toGuestText(Buffer.from(text));

test.each([
  ["colours", "\u001b[1;31mred\u001b[0m", "red", 2],
  ["cursor movement and clearing", "a\u001b[2J\u001b[Hb", "ab", 2],
  ["a window title", "\u001b]0;owned\u0007x", "x", 1],
  ["a hyperlink", "\u001b]8;;http://evil/\u001b\\click\u001b]8;;\u001b\\", "click", 2],
  ["a clipboard write", "\u001b]52;c;ZXZpbA==\u0007x", "x", 1],
  ["a device control string", "\u001bPq#0\u001b\\x", "x", 1],
  ["an unterminated string sequence up to its end", "x\u001b]0;rest", "x", 1],
  ["C1 control codes", "a\u009b31mb\u0085c", "abc", 2],
  ["a lone escape", "a\u001b", "a", 1],
  ["bells and NULs", "a\u0007\u0000b", "ab", 2],
  ["a progress bar, but for its last state", "10 %\r50 %\r100 %\ndone", "100 %\ndone", 2],
  ["a carriage return before a newline", "a\r\nb\r\n", "a\nb\n", 0],
  ["backspaces with what they erase", "abc\b\bX", "aX", 2],
])("removes %s", (_, input, text, removed) => {
  expect(safe(input)).toEqual({ text, removed, escaped: 0 });
});

test("keeps tabs, newlines and what is printable in any script", () => {
  expect(safe("a\tb\nčesky 日本語 🙂 e\u0301").text).toBe("a\tb\nčesky 日本語 🙂 e\u0301");
});

test.each([
  ["zero-width", "a\u200bb", "a\\u{200b}b"],
  ["bidirectional", "a\u202eb", "a\\u{202e}b"],
  ["tag characters", "a\u{e0041}b", "a\\u{e0041}b"],
  ["a byte order mark", "\ufeffa", "\\u{feff}a"],
])("shows %s characters", (_, input, text) => {
  expect(safe(input)).toEqual({ text, removed: 0, escaped: 1 });
});

test("invalid UTF-8 becomes a replacement character", () => {
  expect(safe(Buffer.from([0x61, 0xff, 0xc3])).text).toBe("a\ufffd\ufffd");
});

test("an unterminated sequence of any length takes linear time", () => {
  const hostile = Buffer.from(`\u001b]${"\u001b]".repeat(200_000)}`);
  const started = performance.now();
  toGuestText(hostile);
  const long = performance.now() - started;
  const half = performance.now();
  toGuestText(hostile.subarray(0, hostile.length / 2));
  expect(long / Math.max(performance.now() - half, 1)).toBeLessThan(20);
});

test("the head ends at a line, the tail begins at one, and both fit", () => {
  const text = Buffer.from(Array.from({ length: 1000 }, (_, i) => `line ${i}\n`).join(""));
  const head = fitHead(text, 100);
  expect(head.text.endsWith("\n")).toBe(true);
  expect(head.text.startsWith("line 0\n")).toBe(true);
  const tail = fitTail(text, 100);
  expect(tail.text.startsWith("line ")).toBe(true);
  expect(tail.text.endsWith("line 999\n")).toBe(true);
  expect(Math.max(head.rawBytes, tail.rawBytes)).toBeLessThanOrEqual(100);
});

test("whatever the bytes, a part fits its budget and its raw length is true", () => {
  let seed = 7;
  const random = (): number => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) / 0x7fffffff;
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(Array.from({ length: 200 }, () => Math.floor(random() * 256)));
    const budget = Math.floor(random() * 120);
    for (const part of [fitHead(bytes, budget), fitTail(bytes, budget)]) {
      expect(Buffer.byteLength(part.text)).toBeLessThanOrEqual(budget);
      expect(part.rawBytes).toBeLessThanOrEqual(bytes.length);
    }
  }
});

test("a character that the cut would split is left out on both sides", () => {
  const text = Buffer.from("🙂".repeat(50));
  expect(fitHead(text, 30).text).toBe("🙂".repeat(7));
  expect(fitTail(text, 30).text).toBe("🙂".repeat(7));
});
