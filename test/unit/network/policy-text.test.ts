import { describe, expect, it, test } from "vitest";
import { judgeName, NETWORK_MODES, NO_NETWORK, PLAIN_EGRESS } from "../../../src/network/index.js";
import {
  policyFromFlags,
  policyFromText,
  policyToText,
  policyWithFlags,
  type PolicyFlags,
} from "../../../src/network/policy-text.js";
import { LIMITS, PyroError } from "../../../src/protocol/index.js";

function errorOf(run: () => unknown): PyroError {
  try {
    run();
  } catch (error) {
    if (error instanceof PyroError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("a policy of flags", () => {
  test.each<[string, PolicyFlags, Partial<Record<string, unknown>>]>([
    ["nothing is off", {}, { mode: "off", allow: [] }],
    ["egress alone is all of the internet", { mode: "egress" }, { mode: "egress", allow: ["*"] }],
    [
      "an allow list means egress",
      { allow: ["Example.org:443"] },
      { mode: "egress", allow: ["example.org:443"] },
    ],
    ["an empty allow list allows nothing", { mode: "egress", allow: [] }, { mode: "egress", allow: [] }],
    ["a deny list takes away from all", { deny: ["*:25"] }, { mode: "egress", allow: ["*"], deny: ["*:25"] }],
    ["a file is an allow list", { file: { name: "f", text: "allow a.example" } }, { allow: ["a.example"] }],
    [
      "a file without an allow line allows nothing",
      { file: { name: "f", text: "deny a.example" } },
      { allow: [] },
    ],
    ["an empty file allows nothing", { file: { name: "f", text: "" } }, { mode: "egress", allow: [] }],
    [
      "flags and file are one list",
      {
        allow: ["a.example"],
        deny: ["c.example"],
        file: { name: "f", text: "allow b.example\ndeny d.example" },
      },
      { allow: ["a.example", "b.example"], deny: ["c.example", "d.example"] },
    ],
    [
      "opened blocks and ports leave the internet open",
      { allowCidrs: ["10.0.0.0/8"], allowHostPorts: ["8080", 3000, 3000] },
      { allow: ["*"], allowCidrs: ["10.0.0.0/8"], allowHostPorts: [3000, 8080] },
    ],
    ["published ports", { mode: "egress+published-ports" }, { mode: "egress+published-ports", allow: ["*"] }],
    [
      "off, with lists that say nothing",
      { mode: "off", deny: [], allowHostPorts: [] },
      { mode: "off", allow: [] },
    ],
  ])("%s", (_title, flags, expected) => {
    const policy = policyFromFlags(flags);
    expect(policyToText(policy)).toMatchObject(expected);
    // And is the same after it was written down.
    expect(policyFromText(JSON.parse(JSON.stringify(policyToText(policy))))).toEqual(policy);
  });

  it("tells all that is wrong at once, each by its flag or line", () => {
    const error = errorOf(() =>
      policyFromFlags({
        mode: "on",
        allow: ["https://example.org", "fine.example", "10.0.0.1"],
        deny: ["127.1"],
        file: { name: "rules.txt", text: "allow fine.example\npermit me\n" },
        allowCidrs: ["127.0.0.0/8", "example.org"],
        allowHostPorts: ["http", 0, 80],
      }),
    );
    expect(error.code).toBe("INVALID_NETWORK_POLICY");
    const { problems, problem_count } = error.details as {
      problems: { where: string }[];
      problem_count: number;
    };
    expect(problems.map(({ where }) => where)).toEqual([
      "--network-policy",
      '"rules.txt" line 2',
      '--network-allow "https://example.org"',
      '--network-allow "10.0.0.1"',
      '--network-deny "127.1"',
      '--allow-cidr "127.0.0.0/8"',
      '--allow-cidr "example.org"',
      '--allow-host-port "http"',
      '--allow-host-port "0"',
    ]);
    expect(problem_count).toBe(9);
    for (const { where } of problems) expect(error.message).toContain(where);
    expect(error.hint).toContain("egress+published-ports");
  });

  it("refuses rules for no network", () => {
    expect(errorOf(() => policyFromFlags({ mode: "off", allow: ["example.org"] })).message).toContain(
      "--network-policy off",
    );
    expect(errorOf(() => policyFromFlags({ mode: "off", allowHostPorts: [80] })).hint).toContain("egress");
  });

  it("bounds rules, ports, and what it says of them", () => {
    const many = Array.from({ length: LIMITS.networkRules }, (_, at) => `h${at}.example`);
    expect(policyFromFlags({ allow: many }).allow).toHaveLength(LIMITS.networkRules);
    expect(errorOf(() => policyFromFlags({ allow: many, deny: ["one.example"] })).message).toContain(
      "1001 rules",
    );
    const ports = Array.from({ length: LIMITS.networkHostPorts + 1 }, (_, at) => at + 1);
    expect(errorOf(() => policyFromFlags({ allowHostPorts: ports })).message).toContain("65 ports");
    const bad = errorOf(() => policyFromFlags({ allow: many.map((name) => `${name}:x\u001b`) }));
    expect(bad.message.length).toBeLessThan(10_000);
    expect(bad.message).toContain(`and ${LIMITS.networkRules - LIMITS.networkProblems} more`);
    expect(bad.message).not.toContain("\u001b");
  });
});

describe("what is given on top of a policy", () => {
  const shop = { allow: ["shop.example"], deny: ["bad.shop.example"], allowCidrs: ["10.1.0.0/16"] };
  const on = (flags: PolicyFlags, more: PolicyFlags) =>
    policyToText(policyWithFlags(policyToText(policyFromFlags(flags)), more));

  test.each<[string, PolicyFlags, PolicyFlags, PolicyFlags]>([
    ["nothing changes nothing", shop, {}, shop],
    ["no network, and nothing, is no network", {}, {}, {}],
    ["rules on no network are a policy of their own", {}, shop, shop],
    [
      "each list grows, and holds nothing twice",
      shop,
      { allow: ["Shop.example", "other.example"], deny: ["*:25"], allowCidrs: ["10.2.0.0/16"] },
      {
        allow: ["shop.example", "other.example"],
        deny: ["bad.shop.example", "*:25"],
        allowCidrs: ["10.1.0.0/16", "10.2.0.0/16"],
      },
    ],
    ["a port of the host", shop, { allowHostPorts: [80] }, { ...shop, allowHostPorts: [80] }],
    [
      "an opened block narrows nothing",
      { mode: "egress" },
      { allowCidrs: ["10.0.0.0/8"] },
      { allowCidrs: ["10.0.0.0/8"] },
    ],
    [
      "a file on all of the internet, too",
      { mode: "egress" },
      { file: { name: "f", text: "deny a.example" } },
      { deny: ["a.example"] },
    ],
    [
      "a mode keeps the rules",
      shop,
      { mode: "egress+published-ports" },
      { ...shop, mode: "egress+published-ports" },
    ],
    ["off is off", shop, { mode: "off" }, { mode: "off" }],
  ])("%s", (_, flags, more, result) => {
    expect(on(flags, more)).toEqual(policyToText(policyFromFlags(result)));
  });

  it("is refused as a policy is, with all that is wrong in it", () => {
    expect(errorOf(() => on(shop, { allow: ["127.1"], deny: ["x:0"] })).message).toContain("2 problems");
    const many = Array.from({ length: LIMITS.networkRules }, (_, at) => `h${at}.example`);
    expect(errorOf(() => on(shop, { allow: many })).message).toContain("1003 rules");
  });
});

describe("a policy that was written down", () => {
  test.each<[string, unknown]>([
    ["nothing", undefined],
    ["null", null],
    ["a text", "egress"],
    ["no lists", { mode: "egress" }],
    ["a list that is missing", { mode: "egress", allow: ["*"], deny: [], allowCidrs: [] }],
    ["a list that is none", { mode: "egress", allow: "*", deny: [], allowCidrs: [], allowHostPorts: [] }],
    [
      "a rule that is none",
      { mode: "egress", allow: ["*"], deny: ["127.1"], allowCidrs: [], allowHostPorts: [] },
    ],
    ["a rule that is no text", { mode: "egress", allow: [7], deny: [], allowCidrs: [], allowHostPorts: [] }],
    ["another mode", { mode: "all", allow: ["*"], deny: [], allowCidrs: [], allowHostPorts: [] }],
    ["a port that is none", { mode: "egress", allow: ["*"], deny: [], allowCidrs: [], allowHostPorts: [{}] }],
  ])("with %s is refused whole", (_title, text) => {
    expect(errorOf(() => policyFromText(text)).code).toBe("INVALID_NETWORK_POLICY");
  });

  it("has constants for what needs no text", () => {
    expect(policyFromFlags({ mode: "egress" })).toEqual(PLAIN_EGRESS);
    expect(policyFromFlags({})).toEqual(NO_NETWORK);
    for (const mode of NETWORK_MODES) expect(policyFromFlags({ mode }).mode).toBe(mode);
    expect(judgeName(NO_NETWORK, "example.org").allowed).toBe(false);
  });
});
