import { expect, test } from "vitest";
import type { PyroError } from "../../../src/protocol/index.js";
import { toCommandWords, toRunSpec, type RunInVmOptions } from "../../../src/sdk/run-options.js";

const refused = (options: Partial<RunInVmOptions>): PyroError => {
  try {
    toRunSpec({ environment: "debian:12", ...options });
  } catch (error) {
    return error as PyroError;
  }
  throw new Error("it was taken");
};
const ok = (options: Partial<RunInVmOptions>) =>
  toRunSpec({ environment: "debian:12", argv: ["x"], ...options });

test("defaults are the contract's", () => {
  expect(ok({})).toMatchObject({
    vcpuCount: 1,
    memMib: 1024,
    timeoutMs: 120_000,
    ttlMs: 600_000,
    noPull: false,
    command: "",
    env: [],
  });
});

test.each([
  ["no environment", { environment: "", argv: ["x"] }],
  ["both", { command: "x", argv: ["x"] }],
  ["an empty argv", { argv: [] }],
  ["a blank command", { command: " \n" }],
  ["a NUL in an argument", { argv: ["x", "a\0b"] }],
  ["a NUL in a variable", { argv: ["x"], env: { A: "a\0" } }],
  ["a variable without a name", { argv: ["x"], env: { "": "a" } }],
  ["a variable with = in its name", { argv: ["x"], env: { "A=B": "c" } }],
  ["no CPUs", { argv: ["x"], vcpuCount: 0 }],
  ["half a CPU", { argv: ["x"], vcpuCount: 0.5 }],
  ["too little memory", { argv: ["x"], memMib: 1 }],
  ["no time", { argv: ["x"], timeoutSeconds: 0 }],
  ["negative time", { argv: ["x"], timeoutSeconds: -1 }],
  ["endless time", { argv: ["x"], timeoutSeconds: Infinity }],
  ["no life", { argv: ["x"], ttlSeconds: 0 }],
])("refuses %s, with what to do", (_, options) => {
  const error = refused(options);
  expect(error.code).toBe("INVALID_ARGUMENT");
  expect(error.hint).not.toBe("");
});

test("neither command nor argv leaves it to the environment; a VM that is there needs one of them", () => {
  expect(toRunSpec({ environment: "app:1" })).toMatchObject({ command: "", argv: [] });
  expect(() => toCommandWords({})).toThrow(/need exactly one of the two/);
});

test("an argument may have 131,071 bytes and no more, in bytes and not in characters", () => {
  expect(ok({ argv: ["x", "a".repeat(131_071)] }).argv).toHaveLength(2);
  expect(refused({ argv: ["x", "a".repeat(131_072)] })).toMatchObject({
    code: "ARGUMENT_TOO_LARGE",
    details: { limit: 131_071, value: 131_072 },
  });
  expect(refused({ argv: ["x", "ž".repeat(65_536)] }).code).toBe("ARGUMENT_TOO_LARGE");
  expect(refused({ argv: ["x"], env: { A: "a".repeat(131_070) } }).code).toBe("ARGUMENT_TOO_LARGE");
  expect(refused({ command: "a".repeat(131_072) }).code).toBe("ARGUMENT_TOO_LARGE");
});

test("all arguments together and their count are bounded", () => {
  expect(refused({ argv: Array.from({ length: 17 }, () => "a".repeat(131_000)) }).message).toContain(
    "together",
  );
  expect(refused({ argv: Array.from({ length: 100_001 }, () => "") }).message).toContain("100001 arguments");
});

test("bytes pass as they are", () => {
  const { argv, env } = ok({
    argv: ["x", Buffer.from([0xff, 0x80])],
    env: { A: Buffer.from([0xfe]), B: "=" },
  });
  expect(argv?.map((word) => [...word])).toEqual([[0x78], [0xff, 0x80]]);
  expect(env?.map((entry) => [...entry])).toEqual([
    [0x41, 0x3d, 0xfe],
    [0x42, 0x3d, 0x3d],
  ]);
});
