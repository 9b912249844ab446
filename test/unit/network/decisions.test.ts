import { describe, expect, it, test } from "vitest";
import {
  HOST_ALIAS,
  isProblem,
  judgeAddress,
  judgeFirstBytes,
  judgeName,
  parseAddress,
  parseName,
  policyFromFlags,
  type NetworkPolicy,
  type Target,
} from "../../../src/network/index.js";
import { hello, serverName } from "./hello.js";
import { address } from "./support.js";

/**
 * One table, every way in which a program can name a host: as a name to look up, as an address to dial, in a TLS hello, in
 * Host, to a proxy. They all have to come to one decision. A program that is refused a name goes on as an attacker would:
 * it connects to what it may reach and says the name there.
 */
const DENY = ["bad.example.net", "*.denied.test", "93.184.216.66", "*:25"];
const POLICIES = {
  off: policyFromFlags({ mode: "off" }),
  empty: policyFromFlags({ allow: [] }),
  plain: policyFromFlags({ mode: "egress", deny: DENY }),
  listed: policyFromFlags({
    allow: [
      "example.org",
      "*.example.net",
      "xn--bcher-kva.example",
      "93.184.216.0/24",
      "2606:4700::/32",
      "64:ff9b::/96",
      "proxy.test:3128",
      // What no list opens.
      "metadata.google.internal",
      "localhost",
      "*.internal",
      "*.pyro.internal",
    ],
    deny: DENY,
  }),
};
const HOST = { addresses: ["5.9.1.2", "2a01:4f8::2"].map(address), links: [] };
const PORT = 443;
const PUBLIC = address("93.184.216.34");
const PROXY: Target = { address: address("8.8.4.4"), port: 3128, names: ["proxy.test"] };

type Path = "name" | "address" | "sni" | "host" | "connect";

/** Whether the program gets through by that path. */
function attempt(policy: NetworkPolicy, text: string, path: Path): boolean {
  if (path === "name") return judgeName(policy, text).allowed;
  if (path === "address") {
    const literal = parseAddress(text);
    return literal !== undefined && reaches(policy, { address: literal, port: PORT, names: [] });
  }
  if (path === "connect") {
    const request = `CONNECT ${bracketed(text)}:${PORT} HTTP/1.1\r\nHost: ${bracketed(text)}:${PORT}\r\n\r\n`;
    return reaches(policy, PROXY) && passes(policy, PROXY, request);
  }
  const target = targetOf(policy, text);
  const bytes =
    path === "sni" ? hello([serverName(text)]) : `GET / HTTP/1.1\r\nHost: ${bracketed(text)}\r\n\r\n`;
  return reaches(policy, target) && passes(policy, target, bytes);
}

/** Where the program connects to when it wants `text`. */
function targetOf(policy: NetworkPolicy, text: string): Target {
  const literal = parseAddress(text);
  if (literal !== undefined && reaches(policy, { address: literal, port: PORT, names: [] })) {
    return { address: literal, port: PORT, names: [] };
  }
  const parsed = parseName(text);
  const isLookedUp = !isProblem(parsed) && judgeName(policy, text).allowed;
  // Refused: it goes to an address that an allowed name led to.
  return { address: PUBLIC, port: PORT, names: [isLookedUp ? parsed.name : "example.org"] };
}

function reaches(policy: NetworkPolicy, target: Target): boolean {
  return judgeAddress(policy, target, HOST).allowed;
}

function passes(policy: NetworkPolicy, target: Target, bytes: Buffer | string): boolean {
  const verdict = judgeFirstBytes(Buffer.from(bytes as Buffer), target, policy, { host: HOST });
  expect(verdict.kind).not.toBe("need-more");
  return verdict.kind === "pass";
}

function bracketed(text: string): string {
  return text.includes(":") && !text.startsWith("[") ? `[${text}]` : text;
}

const NAMES: Readonly<Record<string, readonly string[]>> = {
  // Under both.
  both: [
    "example.org",
    "EXAMPLE.ORG",
    "example.org.",
    "Example.Org.",
    "www.example.net",
    "a.b.c.example.net",
    "xn--bcher-kva.example",
    "XN--BCHER-KVA.example",
    "bad.example.net.example.net",
    "notbad.example.net",
  ],
  // Without an allow list only.
  plain: [
    "example.net",
    "evilexample.net",
    "evilexample.org",
    "example.org.evil.test",
    "www.example.org",
    "example.com",
    "example.org-evil.test",
    "xn--xample-9uf.org",
    "denied.test",
    "internal.example",
    "1.2.3.4.example",
    "127.0.0.1.nip.example",
    "0x7f.example",
    "a-b.example",
    "r3---sn-4g5e.example",
    `${"a".repeat(63)}.example`,
    "3com.com",
    "127-0-0-1.example",
    "metadata.google.internal.example",
    "localhost.example",
  ],
  none: [
    // Denied.
    "bad.example.net",
    "BAD.example.net.",
    "x.denied.test",
    "a.b.denied.test",
    // What stands for something else than the internet.
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    HOST_ALIAS.name,
    "other.pyro.internal",
    "pyro.internal.pyro.internal",
    "metadata.google.internal",
    "Metadata.Google.Internal.",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "instance-data",
    "instance-data.ec2.internal",
    "intranet",
    "wpad",
    "com",
    // What resolvers, C strings and URL parsers read as something else.
    "",
    ".",
    "..",
    ".example.org",
    "example..org",
    "example.org..",
    "evil.test\0.example.org",
    "evil.test\0example.org",
    "example.org\0",
    "\0example.org",
    "evil.test%00.example.org",
    "example.org%00",
    "%65xample.org",
    "evil.test\\@example.org",
    "evil.test\\.example.org",
    "example.org@evil.test",
    "user:password@evil.test",
    "evil.test#.example.org",
    "evil.test?.example.org",
    "evil.test/.example.org",
    "evil.test;.example.org",
    "evil.test,example.org",
    "evil.test .example.org",
    "example.org evil.test",
    "example.org\n",
    "example.org\r",
    "example.org\r\nevil.test",
    "example.org\u001b[2J",
    "*.example.net",
    "*",
    "**.example.net",
    "under_score.example.net",
    "-x.example.net",
    "x-.example.net",
    `${"a".repeat(64)}.example.net`,
    `${"abcdefg.".repeat(40)}example.net`,
    "b\u00fccher.example",
    "ex\u0430mple.org",
    "example\u3002org",
    "example\uff0eorg",
    "\uff45xample.org",
    "exam\u00adple.org",
    "exam\u200bple.org",
    "\u202eexample.org",
    "\u24d4xample.org",
    "\u212a.example.net",
    "example.org\u0000\u3002",
    "http://example.org",
    "example.org:443",
    "example.org/",
    "[example.org]",
    "example.123",
    "example.0x1f",
    "example.0x",
  ],
};

const ADDRESSES: typeof NAMES = {
  both: [
    "93.184.216.34",
    "93.184.216.0",
    "::ffff:93.184.216.34",
    "::ffff:5db8:d822",
    "0:0:0:0:0:FFFF:5DB8:D822",
    "2606:4700::1111",
    "2606:4700:0:0:0:0:0:1111",
    "64:ff9b::93.184.216.34",
    "64:ff9b::808:808",
  ],
  plain: [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.217.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2a00::1",
    "2a00::5efe:8.8.8.8",
  ],
  none: [
    // Denied, and what carries it.
    "93.184.216.66",
    "::ffff:93.184.216.66",
    "64:ff9b::93.184.216.66",
    "2a00::5efe:93.184.216.66",
    // The host, in every spelling that something takes for an address.
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.255",
    "0.0.0.0",
    "0.0.0.1",
    "0x7f.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "0X7F.0X0.0X0.0X1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "0",
    "127.0.0.1.",
    "127.0.0.01",
    "127.0.0.1\0",
    "127.0.0.1 ",
    "127.0.0.1%00.example.org",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u2460\u2461\u2466.0.0.1",
    "1.2.3.4.5",
    "256.1.1.1",
    "1.1.1.1:443",
    "::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::0001",
    "::1%lo",
    "::1%25lo",
    "[::1]",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "::7f00:1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1:7f00:0:100::",
    "2002:7f00:1::",
    "2002:7f00:1::1",
    "2001:0:808:808:0:0:80ff:fffe",
    "2a00::5efe:127.0.0.1",
    "2a00::200:5efe:127.0.0.1",
    "5.9.1.2",
    "2a01:4f8::2",
    "::ffff:5.9.1.2",
    "64:ff9b::5.9.1.2",
    "10.0.2.2",
    "10.0.2.3",
    "10.0.2.15",
    // Its networks.
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.0.1",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "64:ff9b::10.0.0.1",
    "64:ff9b::192.168.0.1",
    "64:ff9b:1::10.0.0.1",
    "2002:a00:1::1",
    "2002:808:808::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "100::1",
    "fc00::1",
    "fd00::1",
    "fdff:ffff::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "4000::1",
    "::8.8.8.8",
    "::ffff:0:8.8.8.8",
    // Clouds' credentials.
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "169.254.170.2",
    "169.254.170.23",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "::ffff:168.63.129.16",
  ],
};

const rows = (table: typeof NAMES): [string, string][] =>
  Object.entries(table).flatMap(([under, texts]) => texts.map((text): [string, string] => [text, under]));

it("has a table that is worth its name", () => {
  const all = [...rows(NAMES), ...rows(ADDRESSES)].map(([text]) => text);
  expect(new Set(all).size).toBe(all.length);
  expect(all.length).toBeGreaterThanOrEqual(200);
});

const PATHS: readonly Path[] = ["name", "address", "sni", "host", "connect"];

function decisions(text: string): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries(POLICIES).map(([name, policy]) => [
      name,
      PATHS.filter((path) => attempt(policy, text, path)),
    ]),
  );
}

describe("a name comes to one decision on every path", () => {
  const byName = ["name", "sni", "host", "connect"];

  test.each(rows(NAMES))("%j is allowed under %s", (text, under) => {
    expect(decisions(text)).toEqual({
      off: [],
      empty: [],
      plain: under === "none" ? [] : byName,
      listed: under === "both" ? byName : [],
    });
  });
});

test.each([" example.org", "example.org ", "example.org\t"])(
  "%j is a name in Host alone, which may be padded",
  (text) => {
    expect(decisions(text)).toEqual({ off: [], empty: [], plain: ["host"], listed: ["host"] });
  },
);

describe("an address comes to one decision on every path", () => {
  const byAddress = ["address", "sni", "host", "connect"];

  test.each(rows(ADDRESSES))("%j is allowed under %s", (text, under) => {
    expect(decisions(text)).toEqual({
      off: [],
      empty: [],
      plain: under === "none" ? [] : byAddress,
      listed: under === "both" ? byAddress : [],
    });
  });
});

describe("a name whose resolver lies", () => {
  const refused = rows(ADDRESSES).flatMap(([text, under]) => {
    const parsed = parseAddress(text);
    return under === "none" && parsed !== undefined ? [[text, parsed] as const] : [];
  });

  test.each(refused)("does not lead to %s", (_text, led) => {
    for (const policy of Object.values(POLICIES)) {
      for (const names of [
        ["example.org"],
        ["www.example.net", "example.org"],
        ["metadata.google.internal"],
        [],
      ]) {
        expect(reaches(policy, { address: led, port: PORT, names })).toBe(false);
      }
    }
  });

  it("leads to what is public, and a denied port stays denied", () => {
    expect(
      reaches(POLICIES.listed, { address: address("1.1.1.1"), port: PORT, names: ["example.org"] }),
    ).toBe(true);
    expect(reaches(POLICIES.listed, { address: address("1.1.1.1"), port: 25, names: ["example.org"] })).toBe(
      false,
    );
    expect(reaches(POLICIES.listed, { address: address("1.1.1.1"), port: PORT, names: ["other.test"] })).toBe(
      false,
    );
  });
});
