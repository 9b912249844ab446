import { expect, test } from "vitest";
import { fromWire, PyroError } from "../../../src/protocol/index.js";

const system = (code: string, path?: string) =>
  Object.assign(new Error(`${code}: it failed`), { code, path });

test("an error carries code, message, hint, details and whether to try again", () => {
  const cause = new Error("below");
  const error = new PyroError("DISK_FULL", "full", {
    hint: "free some",
    details: { bytes: 7 },
    retryable: true,
    cause,
  });
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    code: "DISK_FULL",
    message: "full",
    hint: "free some",
    details: { bytes: 7 },
    retryable: true,
  });
  expect(error.cause).toBe(cause);
  expect(error).toBeInstanceOf(Error);
});

test("hint, details and retryable have plain defaults, and no cause is no property", () => {
  const error = new PyroError("INTERNAL", "x");
  expect(error.toJSON()).toEqual({ code: "INTERNAL", message: "x", hint: "", details: {}, retryable: false });
  expect("cause" in error).toBe(false);
});

test("a PyroError stays itself", () => {
  const error = new PyroError("VM_CRASHED", "x");
  expect(PyroError.from(error)).toBe(error);
});

test.each([
  ["ENOSPC", "DISK_FULL"],
  ["EDQUOT", "DISK_FULL"],
  ["EMFILE", "TOO_MANY_FILES"],
  ["ENFILE", "TOO_MANY_FILES"],
  ["EROFS", "STATE_NOT_WRITABLE"],
  ["EACCES", "STATE_NOT_WRITABLE"],
  ["EPERM", "STATE_NOT_WRITABLE"],
])("%s is %s, with the path and a hint", (code, expected) => {
  const error = PyroError.from(system(code, "/some/file"));
  expect(error.code).toBe(expected);
  expect(error.message).toContain("/some/file");
  expect(error.hint).not.toBe("");
});

test("a system error without a path has none in its message", () => {
  expect(PyroError.from(system("ENOSPC")).message).toBe("no space left on the host's disk");
});

test.each([
  ["an unknown system error", system("EXDEV"), "EXDEV: it failed"],
  ["a plain error", new TypeError("oops"), "oops"],
  ["a string", "text", "text"],
  ["nothing", undefined, "undefined"],
])("%s is INTERNAL and asks for a report", (_, thrown, message) => {
  const error = PyroError.from(thrown);
  expect(error).toMatchObject({ code: "INTERNAL", message });
  expect(error.cause).toBe(thrown);
  expect(error.hint).toContain("pyro daemon logs");
});

test("a code of a newer peer becomes INTERNAL and is kept in the details", () => {
  expect(fromWire("DISK_FULL", "full", { hint: "h" })).toMatchObject({ code: "DISK_FULL", hint: "h" });
  const error = fromWire("BRAND_NEW", "what", { hint: "h", details: { a: 1 }, retryable: true });
  expect(error).toMatchObject({
    code: "INTERNAL",
    message: "what",
    hint: "h",
    retryable: true,
    details: { a: 1, peer_code: "BRAND_NEW" },
  });
});
