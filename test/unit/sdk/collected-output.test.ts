import { expect, test } from "vitest";
import { CollectedOutput } from "../../../src/sdk/collected-output.js";

const collect = (maxBytes: number, ...chunks: (string | Uint8Array)[]) => {
  const output = new CollectedOutput(maxBytes);
  for (const chunk of chunks) output.add(Buffer.from(chunk));
  return output.finish();
};

test("what fits is kept whole, also when it fills head and tail exactly", () => {
  expect(collect(10, "abc", "def")).toEqual({ text: "abcdef", truncated: false, totalBytes: 6 });
  expect(collect(6, "abcdef")).toEqual({ text: "abcdef", truncated: false, totalBytes: 6 });
});

test("head and tail are kept, the rest is counted, however it is cut into chunks", () => {
  const text = "0123456789".repeat(10);
  const expected = { text: "0123456789", truncated: true, totalBytes: 100 };
  expect(collect(10, text)).toEqual({ ...expected, text: "0123456789" });
  expect(collect(10, ...text.split(""))).toEqual(expected);
  expect(collect(10, text.slice(0, 7), text.slice(7, 60), text.slice(60))).toEqual(expected);
});

test("a bound of 0 keeps nothing", () => {
  expect(collect(0, "abc", "def")).toEqual({ text: "", truncated: true, totalBytes: 6 });
});

test("characters are not split where the output is cut, and whole where it is not", () => {
  expect(collect(10, "🙂".repeat(5)).text).toBe("🙂🙂");
  expect(collect(24, Buffer.from("🙂🙂").subarray(0, 5), Buffer.from("🙂🙂").subarray(5)).text).toBe("🙂🙂");
});
