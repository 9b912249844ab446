import { describe, expect, it } from "vitest";
import { lastLines, printable } from "../../../src/vmm/printable.js";

describe("Text of a guest", () => {
  it("loses what a terminal would obey", () => {
    expect(printable("a\u001b[31mb\u001b[0mc")).toBe("abc");
    expect(printable("a\u001b]0;title\u0007b\u001b]8;;http://x\u001b\\c")).toBe("abc");
    expect(printable("a\u0007\u0008\u009b31m\u0000b")).toBe("a31mb");
  });

  it("loses what is invisible or reorders", () => {
    expect(printable("a\u202eb\u200bc\u{e0041}d")).toBe("abcd");
  });

  it("keeps lines, tabs and every script", () => {
    expect(printable("ä\t日本\r\n🙂\rx")).toBe("ä\t日本\n🙂\nx");
  });

  it("is cut to its last lines that say something", () => {
    expect(lastLines("one\n\n two  \n\r\n\u001b[K\nthree\n", 2)).toBe(" two\nthree");
    expect(lastLines("", 3)).toBe("");
  });
});
