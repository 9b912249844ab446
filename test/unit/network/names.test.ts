import { describe, expect, it, test } from "vitest";
import { parseName, resolvableName } from "../../../src/network/index.js";
import { isBelow, isCanonicalName } from "../../../src/network/names.js";
import { isProblem, shown } from "../../../src/network/problem.js";

describe("the name of a host", () => {
  test.each([
    ["example.org", "example.org"],
    ["EXAMPLE.Org", "example.org"],
    ["example.org.", "example.org"],
    ["a", "a"],
    ["localhost", "localhost"],
    ["xn--bcher-kva.example", "xn--bcher-kva.example"],
    ["1.2.3.4.example", "1.2.3.4.example"],
    ["3com.com", "3com.com"],
    ["r3---sn-4g5e.example", "r3---sn-4g5e.example"],
    [`${"a".repeat(63)}.org`, `${"a".repeat(63)}.org`],
    [`${"abcdefg.".repeat(31)}abcde.`, `${"abcdefg.".repeat(31)}abcde`],
  ])("%j is %s", (text, name) => {
    expect(parseName(text)).toEqual({ name });
    expect(isCanonicalName(name)).toBe(true);
    expect(isCanonicalName(`${name}.`)).toBe(false);
  });

  test.each([
    ["", "empty"],
    [".", "empty"],
    ["..", "empty"],
    [".example.org", "empty"],
    ["example..org", "empty"],
    ["example.org..", "empty"],
    ["evil.test\0.allowed.com", '"\\u0000"'],
    ["evil.test%00.allowed.com", '"%"'],
    ["evil.test\\@allowed.com", '"\\\\"'],
    ["allowed.com@evil.test", '"@"'],
    ["user:pass@evil.test", '":"'],
    ["evil.test/allowed.com", '"/"'],
    ["evil.test#allowed.com", '"#"'],
    ["evil.test?allowed.com", '"?"'],
    ["evil.test allowed.com", '" "'],
    ["example.org\n", '"\\n"'],
    ["example.org\t", '"\\t"'],
    ["example.org:443", '":"'],
    ["[::1]", '"["'],
    ["::1", '":"'],
    ["under_score.example", '"_"'],
    ["*.example.org", '"*"'],
    ["bücher.example", "not ASCII"],
    ["exаmple.org", "not ASCII"],
    ["example。org", "not ASCII"],
    ["exam\u00adple.org", "not ASCII"],
    ["ⓔxample.org", "not ASCII"],
    ["\u212a.example", "not ASCII"],
    ["-a.example", "hyphen"],
    ["a-.example", "hyphen"],
    ["a.example-", "hyphen"],
    [`${"a".repeat(64)}.org`, "63"],
    [`${"abcdefg.".repeat(31)}abcdef`, "253"],
    ["1.2.3.4", "address"],
    ["127.0.0.1.", "address"],
    ["127.1", "number"],
    ["0x7f.1", "number"],
    ["2130706433", "number"],
    ["0177.0.0.1", "number"],
    ["1.2.3.0x4", "number"],
    ["example.0X", "number"],
    ["example.0", "number"],
  ])("%j is none: %s", (text, why) => {
    const parsed = parseName(text);
    expect(parsed).toMatchObject({ problem: expect.stringContaining(why) as string });
    expect(isProblem(parsed) && parsed.hint).not.toBe("");
    expect(isCanonicalName(text)).toBe(false);
  });

  it("is looked up with the root's dot, so that no search domain is tried", () => {
    expect(resolvableName("example.org")).toBe("example.org.");
  });
});

it("is below another by whole labels only", () => {
  expect(isBelow("www.example.org", "example.org")).toBe(true);
  expect(isBelow("a.b.example.org", "example.org")).toBe(true);
  expect(isBelow("example.org", "example.org")).toBe(false);
  expect(isBelow("evilexample.org", "example.org")).toBe(false);
  expect(isBelow("example.org.evil.test", "example.org")).toBe(false);
  expect(isBelow(".example.org", "example.org")).toBe(false);
});

it("is shown in one harmless line, whoever wrote it", () => {
  expect(shown("a\u001b[2J\n\u202e\u200b\u{e0041}\u009b")).toBe(
    '"a\\u001b[2J\\n\\u{202e}\\u{200b}\\u{e0041}\\u{9b}"',
  );
  expect(shown("x".repeat(1000)).length).toBeLessThan(100);
});
