import { describe, expect, it } from "vitest";
import { resolveCommand } from "../../../src/workspace/command-line.js";

const words = (...list: string[]): Uint8Array[] => list.map((word) => Buffer.from(word));
const text = (list: readonly Uint8Array[]): string[] => list.map((word) => Buffer.from(word).toString());
const resolve = (argv: Uint8Array[], command = "", env: Uint8Array[] = []) =>
  resolveCommand({ argv, command, env });

describe("resolveCommand", () => {
  it("runs a line by a login shell and an argv as it is", () => {
    expect(text(resolve([], "ls | wc").argv)).toEqual(["/bin/sh", "-lc", "ls | wc"]);
    expect(text(resolve(words("ls", "-l")).argv)).toEqual(["ls", "-l"]);
  });

  it("wants exactly one of them", () => {
    expect(() => resolve([])).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => resolve(words("a"), "b")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("lets the caller's variables win over the defaults, the last one of a name over the first", () => {
    const env = text(resolve(words("env"), "", words("HOME=/h", "A=1", "A=2=3")).env);
    expect(env).toContain("HOME=/h");
    expect(env).toContain("A=2=3");
    expect(env).not.toContain("A=1");
    expect(env.filter((entry) => entry.startsWith("HOME="))).toHaveLength(1);
  });

  it.each(["=x", "", "novalue"])("refuses the environment entry %j", (entry) => {
    expect(() => resolve(words("env"), "", words(entry))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("keeps arguments that are not UTF-8", () => {
    const odd = Uint8Array.of(0x66, 0xff, 0xfe);
    expect(resolve([...words("printf"), odd]).argv[1]).toEqual(odd);
  });

  it("refuses an empty command name and NUL bytes", () => {
    expect(() => resolve(words(""))).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => resolve(words("a", "b\0c"))).toThrow(/NUL/);
  });

  it("takes an argument of 131,071 bytes and refuses one of 131,072, naming both figures", () => {
    expect(resolve(words("true", "x".repeat(131_071))).argv).toHaveLength(2);
    expect(() => resolve(words("true", "x".repeat(131_072)))).toThrow(/131072 bytes; .* below 131072/);
  });

  it("bounds the sum and the number of arguments", () => {
    const many = words(...Array<string>(20).fill("x".repeat(131_000)));
    expect(() => resolve(many)).toThrow(expect.objectContaining({ code: "ARGUMENT_TOO_LARGE" }));
    const count = words(...Array<string>(100_001).fill("x"));
    expect(() => resolve(count)).toThrow(expect.objectContaining({ code: "ARGUMENT_TOO_LARGE" }));
  });
});
