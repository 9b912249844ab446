import { describe, expect, it, test } from "vitest";
import { judgeFirstBytes, policyFromFlags, type PolicyFlags } from "../../../src/network/index.js";
import type { FirstBytesOptions, FirstBytesVerdict } from "../../../src/network/index.js";
import { address } from "./support.js";
import { hello, realHello, serverName } from "./hello.js";

const NO_HOST = { addresses: [], links: [] };
const PLAIN: PolicyFlags = { mode: "egress" };
const LISTED: PolicyFlags = { allow: ["example.org", "cdn.example.org", "9.9.9.9"] };
const DENIED: PolicyFlags = { deny: ["evil.test", "*.evil.test"] };

function judge(
  policy: PolicyFlags,
  names: readonly string[],
  bytes: Buffer | string,
  options: FirstBytesOptions & { address?: string; port?: number } = {},
): FirstBytesVerdict {
  const { address: text = "93.184.216.34", port = 443, ...rest } = options;
  const target = { address: address(text), port, names };
  return judgeFirstBytes(Buffer.from(bytes as Buffer), target, policyFromFlags(policy), {
    host: NO_HOST,
    ...rest,
  });
}

function reason(verdict: FirstBytesVerdict): string {
  if (verdict.kind !== "refuse") throw new Error(`it is ${verdict.kind}`);
  expect(`${verdict.reason}${verdict.hint}`).toMatch(/^[^\p{C}]+$/u);
  expect(verdict.hint).not.toBe("");
  return `${verdict.reason} | ${verdict.hint}`;
}

const tls = (name?: string): Buffer => hello(name === undefined ? [] : [serverName(name)]);
const http = (host: string): string => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const TO_PROXY = (place: string): string => `CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\n\r\n`;

describe.each([
  ["the name in a TLS hello", tls, "tls"],
  ["Host of a request", http, "http"],
] as const)("%s", (_title, say, protocol) => {
  it("has to be one that led to the address", () => {
    for (const policy of [PLAIN, LISTED]) {
      const names = ["example.org", "cdn.example.org"];
      expect(judge(policy, names, say("cdn.example.org"))).toMatchObject({
        kind: "pass",
        sees: { protocol, host: "cdn.example.org" },
      });
      expect(judge(policy, names, say("EXAMPLE.org")).kind).toBe("pass");
      expect(reason(judge(policy, names, say("other.test")))).toContain(
        'says "other.test", which did not lead',
      );
      expect(reason(judge(policy, names, say("www.example.org")))).toContain(
        "93.184.216.34:443 (example.org)",
      );
    }
  });

  it("is free on an address that the program wrote itself, but for deny rules", () => {
    expect(judge(PLAIN, [], say("other.test")).kind).toBe("pass");
    expect(judge(LISTED, [], say("other.test"), { address: "9.9.9.9" }).kind).toBe("pass");
    expect(judge(DENIED, [], say("fine.test")).kind).toBe("pass");
    expect(reason(judge(DENIED, [], say("www.evil.test")))).toContain("`deny *.evil.test`");
    expect(reason(judge(DENIED, [], say("EVIL.test")))).toContain("`deny evil.test`");
  });

  it("is refused when it was denied since", () => {
    expect(judge(DENIED, ["evil.test"], say("evil.test")).kind).toBe("refuse");
  });

  it("may be the address itself only where that is allowed without a name", () => {
    expect(judge(PLAIN, ["example.org"], say("93.184.216.34")).kind).toBe("pass");
    expect(judge(LISTED, [], say("9.9.9.9"), { address: "9.9.9.9" }).kind).toBe("pass");
    expect(reason(judge(LISTED, ["example.org"], say("93.184.216.34")))).toContain(
      "--network-allow 93.184.216.34:443",
    );
    expect(reason(judge(PLAIN, [], say("127.0.0.1")))).toContain("another address");
    expect(reason(judge(PLAIN, ["example.org"], say("8.8.8.8")))).toContain("another address");
  });

  test.each([
    "evil.test\0.example.org",
    "exam ple.org",
    "under_score.org",
    "127.1",
    "0x7f.1",
    "a..b",
    "b\xfccher.example",
  ])("is refused as %j, whatever is allowed", (name) => {
    expect(judge(PLAIN, [], say(name)).kind).toBe("refuse");
    expect(judge(PLAIN, ["example.org"], say(name)).kind).toBe("refuse");
  });

  it("is of no matter for the host's own services", () => {
    const opened = { allow: [], allowHostPorts: [3000] };
    const there = { address: "10.0.2.2", port: 3000 };
    expect(judge(opened, ["host.pyro.internal"], say("localhost"), there).kind).toBe("pass");
    expect(judge(opened, [], say("host.pyro.internal"), there).kind).toBe("pass");
    expect(judge({ ...opened, deny: ["localhost"] }, [], say("localhost"), there).kind).toBe("refuse");
  });
});

describe("a connection that names nobody", () => {
  const OLD = "GET / HTTP/1.0\r\n\r\n";
  const HTTP2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

  test.each([
    ["TLS without a server name", tls(), "names no server"],
    ["HTTP/1.0 without Host", OLD, "no Host"],
    ["HTTP/2 without TLS", HTTP2, "does not show its host"],
  ])("%s needs an address that is allowed by itself", (_title, bytes, why) => {
    expect(judge(PLAIN, [], bytes).kind).toBe("pass");
    expect(judge(PLAIN, ["example.org"], bytes).kind).toBe("pass");
    expect(judge(LISTED, [], bytes, { address: "9.9.9.9" }).kind).toBe("pass");
    expect(
      judge({ allow: ["example.org"], allowCidrs: ["93.184.216.0/24"] }, ["example.org"], bytes).kind,
    ).toBe("pass");
    expect(reason(judge(LISTED, ["example.org"], bytes))).toContain(why);
  });
});

describe("what a proxy is asked for", () => {
  it("is a destination like any other, whatever led to the proxy", () => {
    const proxied = { allow: ["proxy.test", "example.org:443"], deny: ["bad.example.org"] };
    for (const names of [["proxy.test"], []]) {
      expect(judge(proxied, names, TO_PROXY("example.org:443"))).toMatchObject({
        kind: "pass",
        sees: { host: "example.org" },
      });
      expect(reason(judge(proxied, names, TO_PROXY("example.org:22")))).toContain(
        "--network-allow example.org:22",
      );
      expect(judge(proxied, names, TO_PROXY("bad.example.org:443")).kind).toBe("refuse");
      expect(judge(proxied, names, TO_PROXY("other.test:443")).kind).toBe("refuse");
      expect(judge(proxied, names, TO_PROXY("8.8.8.8:443")).kind).toBe("refuse");
    }
  });

  test.each([
    "127.0.0.1:22",
    "[::1]:22",
    "[::ffff:127.0.0.1]:22",
    "10.0.0.1:80",
    "169.254.169.254:80",
    "localhost:22",
  ])("is never %s", (place) =>
    expect(judge(PLAIN, ["proxy.test"], TO_PROXY(place), { port: 3128 }).kind).toBe("refuse"),
  );

  it("may come as a whole URL", () => {
    const url = (host: string): string => `GET http://${host}/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
    expect(judge(PLAIN, ["proxy.test"], url("example.org")).kind).toBe("pass");
    expect(judge(LISTED, ["example.org"], url("example.org"), { port: 80 }).kind).toBe("pass");
    expect(judge(LISTED, ["example.org"], url("other.test"), { port: 80 }).kind).toBe("refuse");
    expect(judge(PLAIN, ["proxy.test"], url("169.254.169.254")).kind).toBe("refuse");
    expect(judge(DENIED, ["proxy.test"], url("www.evil.test")).kind).toBe("refuse");
  });
});

describe("bytes that are not all there", () => {
  it("are held back until they say enough, however they come", async () => {
    const whole = [await realHello({ servername: "example.org" }), Buffer.from(http("example.org"))];
    for (const bytes of whole) {
      for (let length = 0; length < bytes.length; length++) {
        const judged = Math.max(0, length - 1);
        const verdict = judge(LISTED, ["example.org"], bytes.subarray(0, length), { judged });
        expect(verdict).toEqual({ kind: "need-more" });
      }
      expect(judge(LISTED, ["example.org"], bytes, { judged: bytes.length - 1 }).kind).toBe("pass");
    }
  });

  it("go nowhere when no more will come", () => {
    expect(reason(judge(PLAIN, [], tls("example.org").subarray(0, 20), { ended: true }))).toContain(
      "not finished",
    );
    expect(reason(judge(PLAIN, [], "GET / HTTP/1.1\r\n", { ended: true }))).toContain("not finished");
    expect(judge(PLAIN, [], "", { ended: true })).toEqual({ kind: "pass", sees: { protocol: "other" } });
    expect(judge(PLAIN, [], "QUIT", { ended: true })).toEqual({ kind: "pass", sees: { protocol: "other" } });
  });
});

it("passes what is neither TLS nor HTTP, and refuses what servers read in different ways", () => {
  expect(judge(LISTED, ["example.org"], "SSH-2.0-x\r\n")).toEqual({
    kind: "pass",
    sees: { protocol: "other" },
  });
  expect(reason(judge(PLAIN, [], "GET / HTTP/1.1\nHost: example.org\n\n"))).toContain("bare LF");
  const twice = hello([serverName("example.org"), serverName("evil.test")]);
  expect(reason(judge(PLAIN, ["example.org"], twice))).toContain("twice");
  const hidden = hello([serverName("example.org"), [0xfe0d, Buffer.alloc(9)]]);
  expect(judge(LISTED, ["example.org"], hidden)).toMatchObject({ kind: "pass", sees: { ech: true } });
});
