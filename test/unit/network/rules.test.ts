import { describe, expect, it, test } from "vitest";
import { isProblem } from "../../../src/network/problem.js";
import { parseRuleFile, type PolicyProblem } from "../../../src/network/rule-file.js";
import {
  matchesAddress,
  matchesName,
  matchesPort,
  parseRule,
  type Rule,
} from "../../../src/network/rules.js";
import { parseAllowRule, parseOpenedRule } from "../../../src/network/useful-rule.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { address } from "./support.js";

function rule(text: string): Rule {
  const parsed = parseRule(text);
  if (isProblem(parsed)) throw new Error(`${text}: ${parsed.problem}`);
  return parsed;
}

describe("a rule", () => {
  test.each([
    ["example.org", "example.org"],
    ["Example.ORG.:443", "example.org:443"],
    ["*.Example.org", "*.example.org"],
    ["*.example.org:80-443", "*.example.org:80-443"],
    ["example.org:443-443", "example.org:443"],
    ["example.org:1-65535", "example.org"],
    ["*", "*"],
    ["*:443", "*:443"],
    ["*.org", "*.org"],
    ["mirror", "mirror"],
    ["192.0.2.1", "192.0.2.1"],
    ["192.0.2.1:22", "192.0.2.1:22"],
    ["192.0.2.0/24", "192.0.2.0/24"],
    ["192.0.2.0/24:8000-8999", "192.0.2.0/24:8000-8999"],
    ["192.0.2.1/32:22", "192.0.2.1:22"],
    ["2001:DB8::1", "2001:db8::1"],
    ["[2001:db8::1]", "2001:db8::1"],
    ["[2001:db8::1]:443", "[2001:db8::1]:443"],
    ["[2001:db8::/32]:443", "[2001:db8::/32]:443"],
    ["2001:db8::/32", "2001:db8::/32"],
    ["[::ffff:10.0.0.1]:80", "10.0.0.1:80"],
    ["::/0", "::/0"],
  ])("%s is kept as %s, which is the same rule", (text, canonical) => {
    expect(rule(text).text).toBe(canonical);
    expect(rule(canonical)).toEqual(rule(text));
  });

  test.each([
    ["", "empty"],
    ["https://example.org", "URL"],
    ["example.org/path", "no address"],
    ["example.org:", "no port"],
    ["example.org:0", "no port"],
    ["example.org:65536", "no port"],
    ["example.org:0443", "no port"],
    ["example.org:443-80", "no port"],
    ["example.org:80-90-100", "no port"],
    ["example.org:80,443", "no port"],
    ["example.org:https", "no port"],
    ["example.org:-1", "no port"],
    ["example.org: 443", "no port"],
    ["**.example.org", '"*"'],
    ["*example.org", '"*"'],
    ["api.*.example.org", '"*"'],
    ["*.*.example.org", '"*"'],
    ["*.", "empty"],
    ["*..org", "empty"],
    [".example.org", "empty"],
    ["example.org example.net", '" "'],
    ["example.org\0", '"\\u0000"'],
    ["allowed.com@evil.test", '"@"'],
    ["bücher.example", "punycode"],
    ["127.1", "no address"],
    ["0x7f.1", "number"],
    ["2130706433", "no address"],
    ["0177.0.0.1:80", "no address"],
    ["127.0.0.1.", "no address"],
    ["10.0.0.1/8", "10.0.0.0/8"],
    ["10.0.0.0/33", "0 to 32"],
    ["[::1", "brackets"],
    ["[::1]443", "brackets"],
    ["[example.org]:443", "brackets"],
    ["[1.2.3.4]:443", "brackets"],
    ["fe80::1%eth0", "no address"],
    [`${"a".repeat(LIMITS.networkRuleCharacters)}.org`, "characters"],
  ])("%j is none: %s", (text, why) => {
    const parsed = parseRule(text);
    if (!isProblem(parsed)) throw new Error(`it is one: ${parsed.text}`);
    expect(`${parsed.problem}; ${parsed.hint}`).toContain(why);
    expect(parsed.hint).not.toBe("");
  });

  it("fits names by whole labels, and `*.` not the name itself", () => {
    const below = rule("*.example.org");
    expect(matchesName(below, "www.example.org")).toBe(true);
    expect(matchesName(below, "a.b.example.org")).toBe(true);
    for (const name of ["example.org", "evilexample.org", "www.example.org.evil.test", "org"]) {
      expect(matchesName(below, name)).toBe(false);
    }
    expect(matchesName(rule("example.org"), "example.org")).toBe(true);
    expect(matchesName(rule("example.org"), "www.example.org")).toBe(false);
    expect(matchesName(rule("*"), "example.org")).toBe(true);
    expect(matchesName(rule("0.0.0.0/0"), "example.org")).toBe(false);
  });

  it("fits addresses by their bits, whatever their spelling, and ports by both ends", () => {
    expect(matchesAddress(rule("10.0.0.0/8"), address("::ffff:10.1.2.3"))).toBe(true);
    expect(matchesAddress(rule("::ffff:10.0.0.0/104"), address("10.1.2.3"))).toBe(true);
    expect(matchesAddress(rule("10.0.0.0/8"), address("11.1.2.3"))).toBe(false);
    expect(matchesAddress(rule("example.org"), address("10.1.2.3"))).toBe(false);
    expect(matchesAddress(rule("*"), address("::1"))).toBe(true);
    const ports = rule("*:80-443");
    expect([79, 80, 443, 444].map((port) => matchesPort(ports, port))).toEqual([false, true, true, false]);
    expect(matchesPort(rule("*"), 1)).toBe(true);
  });
});

describe("a rule that could allow nothing", () => {
  test.each([
    "10.0.0.5",
    "192.168.0.0/16",
    "169.254.169.254",
    "[fd00::1]:443",
    "127.0.0.1:3000",
    "::1",
    "198.18.0.0/15",
  ])("%s is no rule of an allow list", (text) => expect(isProblem(parseAllowRule(text))).toBe(true));

  test.each(["8.8.8.8", "0.0.0.0/0", "::/0", "2606:4700::/32", "example.org", "*", "192.0.0.0/8"])(
    "%s is one",
    (text) => expect(isProblem(parseAllowRule(text))).toBe(false),
  );

  test.each([
    "127.0.0.1",
    "127.0.0.0/8",
    "127.0.0.1:3000",
    "::1",
    "::",
    "0.0.0.0",
    "224.0.0.1",
    "fe80::/10",
    "ff02::1",
  ])("%s is never opened by --allow-cidr", (text) => {
    const parsed = parseOpenedRule(text);
    expect(isProblem(parsed) && parsed.hint).toContain("--allow-host-port");
  });

  test.each([
    "10.0.0.0/8",
    "192.168.1.7:22",
    "169.254.169.254",
    "fd00::/8",
    "8.8.8.8",
    "0.0.0.0/0",
    "240.0.0.0/4",
  ])("%s may be opened by it", (text) => expect(isProblem(parseOpenedRule(text))).toBe(false));

  it("takes no names for --allow-cidr", () => {
    expect(parseOpenedRule("example.org")).toMatchObject({ problem: "that is no address or block" });
    expect(parseOpenedRule("*")).toMatchObject({ problem: "that is no address or block" });
  });
});

describe("a file of rules", () => {
  it("has one a line, with remarks, empty lines, and line ends of any system", () => {
    const problems: PolicyProblem[] = [];
    const text =
      "\ufeff# ours\r\n\r\nallow example.org:443 # the API\r\n\tdeny  *.example.net\nallow *.example.org\n#";
    const lists = parseRuleFile("rules.txt", text, problems);
    expect(problems).toEqual([]);
    expect(lists.allow.map(({ text }) => text)).toEqual(["example.org:443", "*.example.org"]);
    expect(lists.deny.map(({ text }) => text)).toEqual(["*.example.net"]);
  });

  it("names every line that is wrong, and reads the others", () => {
    const problems: PolicyProblem[] = [];
    const lines = [
      "allow example.org",
      "permit example.org",
      "allow",
      "ALLOW example.org",
      "allow a.example b.example",
      "allow exa mple.org",
      "deny 127.1",
      "allow 10.0.0.1",
      "allow\u00a0example.org",
      "deny 10.0.0.0/8",
      "example.org",
    ];
    const lists = parseRuleFile("rules.txt", lines.join("\n"), problems);
    expect(problems.map(({ where }) => where)).toEqual(
      [2, 3, 4, 5, 6, 7, 8, 9, 11].map((line) => `rules.txt line ${line}`),
    );
    expect(lists.allow).toHaveLength(1);
    expect(lists.deny).toHaveLength(1);
  });

  it("has a bound", () => {
    const problems: PolicyProblem[] = [];
    const lists = parseRuleFile("rules.txt", "# \n".repeat(LIMITS.networkFileBytes), problems);
    expect(problems).toMatchObject([
      { where: "rules.txt", problem: expect.stringContaining("bytes") as string },
    ]);
    expect(lists).toEqual({ allow: [], deny: [] });
  });
});
