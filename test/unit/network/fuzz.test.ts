import { beforeAll, expect } from "vitest";
import { parseAuthority, type NamedHost } from "../../../src/network/authority.js";
import { readClientHello } from "../../../src/network/client-hello.js";
import { readHttpHead } from "../../../src/network/http-head.js";
import {
  isProblem,
  judgeFirstBytes,
  judgeName,
  policyFromFlags,
  policyFromText,
  policyToText,
  type FirstBytesVerdict,
} from "../../../src/network/index.js";
import { parseRuleFile, type PolicyProblem } from "../../../src/network/rule-file.js";
import { parseRule } from "../../../src/network/rules.js";
import { PyroError } from "../../../src/protocol/index.js";
import { fuzz, mutate, pick, type Random } from "./fuzzer.js";
import { hello, realHello, records, serverName, vector } from "./hello.js";
import { nodeRequest, openSslName } from "./reference-parsers.js";
import { address } from "./support.js";

/** Only names are allowed, so that whatever passes as TLS or HTTP has to say one of them. */
const POLICY = policyFromFlags({ allow: ["example.org", "www.example.org", "other.example"] });
const TARGET = { address: address("93.184.216.34"), port: 443, names: ["example.org", "www.example.org"] };
const HOST = { addresses: [], links: [] };

/** What the gateway comes to when the bytes come in pieces. */
function inPieces(bytes: Buffer, cuts: readonly number[]): FirstBytesVerdict {
  let judged = 0;
  for (const cut of [...cuts, bytes.length]) {
    const verdict = judgeFirstBytes(bytes.subarray(0, cut), TARGET, POLICY, { judged, host: HOST });
    if (verdict.kind !== "need-more") return verdict;
    judged = cut;
  }
  return { kind: "need-more" };
}

/** The same for the same bytes. */
function cutsOf(bytes: Buffer): number[] {
  const sum = bytes.reduce((total, byte) => (total * 31 + byte) % 65_537, 7);
  const step = 1 + (sum % 50);
  return Array.from({ length: Math.floor(bytes.length / step) }, (_, at) => (at + 1) * step);
}

let hellos: Buffer[] = [];
beforeAll(async () => {
  hellos = [
    await realHello({ servername: "example.org" }),
    await realHello({ servername: "evil.test", maxVersion: "TLSv1.2" }),
    await realHello({ ALPNProtocols: ["h2", "http/1.1"] }),
    hello([serverName("example.org")]),
    hello([serverName("evil.test")], 20),
  ];
});

const TLS_PIECES = [
  Buffer.concat([Buffer.from([0, 0]), vector(serverName("evil.test")[1], 2)]),
  Buffer.concat([Buffer.from([0]), vector(Buffer.from("evil.test"), 2)]),
  Buffer.from("evil.test"),
  Buffer.from("\0"),
  Buffer.from([22, 3, 1, 0, 1]),
  Buffer.from([22, 3, 3, 0, 0]),
  Buffer.from([0xfe, 0x0d, 0, 1, 0]),
];

function someHello(random: Random): Buffer {
  const whole = mutate(pick(hellos, random), TLS_PIECES, random);
  // The lengths around what was changed are put right again, so that the change is looked at.
  if (random(2) === 0 || whole.length < 9) return whole;
  const body = whole.subarray(9);
  return records(Buffer.concat([Buffer.from([1]), vector(body, 3)]), 1 + random(400));
}

fuzz("client-hello", someHello, async (bytes) => {
  const read = readClientHello(bytes);
  const theirs = await openSslName(bytes);
  if (typeof theirs === "string") {
    // What OpenSSL reads a name from is never taken for something else, nor for a hello with another name.
    expect(read.kind).not.toBe("not-tls");
    if (read.kind === "hello") expect(read.sni).toBe(theirs);
  }
  const verdict = inPieces(bytes, cutsOf(bytes));
  if (verdict.kind === "pass" && typeof theirs === "string") {
    expect(TARGET.names).toContain(theirs.toLowerCase().replace(/\.$/, ""));
  }
  if (read.kind === "hello") {
    // Nothing that comes later makes another hello of it.
    expect(readClientHello(Buffer.concat([bytes, Buffer.from([22, 3, 3, 0, 1, 1])]))).toEqual(read);
  }
});

const REQUESTS = [
  "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
  "GET /x?y HTTP/1.1\r\nHost: evil.test\r\nAccept: */*\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\nhello",
  "POST / HTTP/1.1\r\nHost: www.example.org\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
  "CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n",
  "GET / HTTP/1.0\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
].map((text) => Buffer.from(text));
const HTTP_PIECES = [
  "\r\n",
  "\n",
  "\r",
  " ",
  "\t",
  "\0",
  ":",
  "Host: evil.test\r\n",
  "Host : evil.test\r\n",
  " Host: evil.test\r\n",
  "\r\nHost: evil.test",
  "http://evil.test/",
  "evil.test",
  "@evil.test",
  "\\",
  "HTTP/1.1",
  "HTTP/0.9",
  "GET",
  "Content-Length: 1\r\n",
  "Transfer-Encoding: chunked\r\n",
  "\u00e9",
].map((text) => Buffer.from(text, "latin1"));

/** Of what Node's own parser read: the host that the request would go to. */
function hostOf(method: string, url: string, host: string | undefined): NamedHost | string | undefined {
  const absolute = /^[a-z]+:\/\/([^/?#]*)/i.exec(url)?.[1];
  const text = method === "CONNECT" ? url : (absolute ?? host);
  if (text === undefined) return undefined;
  const authority = parseAuthority(text);
  return typeof authority === "string" ? authority : authority.host;
}

fuzz(
  "http-head",
  (random) => mutate(pick(REQUESTS, random), HTTP_PIECES, random),
  async (bytes) => {
    const read = readHttpHead(bytes);
    const theirs = await nodeRequest(bytes);
    const verdict = inPieces(bytes, cutsOf(bytes));
    if (theirs === undefined) return;
    const { method = "", url = "", headers } = theirs;
    // What a lenient server takes for a request is never taken for another protocol, whole or in pieces.
    expect(read.kind).not.toBe("not-http");
    if (verdict.kind === "pass") expect(verdict.sees.protocol).toBe("http");
    if (read.kind === "head") {
      expect(read.method).toBe(method);
      expect(read.destination?.host ?? read.host).toEqual(hostOf(method, url, headers.host));
    }
    if (verdict.kind === "pass") expect([...TARGET.names, "other.example"]).toContain(verdict.sees.host);
  },
);

const RULES = [
  "example.org",
  "*.example.org:443",
  "*",
  "192.0.2.0/24:80-90",
  "[2001:db8::/32]:443",
  "::ffff:10.0.0.1",
  "allow example.org:443 # why\ndeny *.example.net\r\n",
  "deny 10.0.0.0/8\nallow *\n",
].map((text) => Buffer.from(text));
const RULE_PIECES = [
  "*",
  ".",
  ":",
  "/",
  "-",
  "[",
  "]",
  "\n",
  "#",
  " ",
  "allow ",
  "deny ",
  "0x7f.1",
  "\0",
  "\u001b[2J",
  "\u00fc",
].map((text) => Buffer.from(text));

fuzz(
  "rules",
  (random) => mutate(pick(RULES, random), RULE_PIECES, random),
  (bytes) => {
    const text = bytes.toString("utf8");
    const rule = parseRule(text);
    if (isProblem(rule)) {
      expect(rule.hint).not.toBe("");
      expect(rule.problem).toMatch(/^[^\p{C}]+$/u);
    } else {
      expect(rule.text).toMatch(/^[\x21-\x7e]+$/);
      expect(parseRule(rule.text)).toEqual(rule);
    }
    const problems: PolicyProblem[] = [];
    const lists = parseRuleFile("f", text, problems);
    const lines = text.split("\n").length;
    expect(problems.length + lists.allow.length + lists.deny.length).toBeLessThanOrEqual(lines);
    try {
      const policy = policyFromFlags({ file: { name: "f", text }, deny: [text] });
      expect(policyFromText(policyToText(policy))).toEqual(policy);
      expect(isProblem(rule)).toBe(false);
    } catch (error) {
      if (!(error instanceof PyroError)) throw error;
      expect(error.code).toBe("INVALID_NETWORK_POLICY");
      expect(error.message).toMatch(/^[^\p{C}]+$/u);
    }
  },
);

const NAMES = ["example.org", "www.example.org", "evil.test", "127.0.0.1", "xn--bcher-kva.example"].map(
  (text) => Buffer.from(text),
);
const NAME_PIECES = [
  "\0",
  "%00",
  ".",
  "..",
  "@",
  "\\",
  "/",
  ":",
  "#",
  "\u3002",
  "\uff0e",
  "\u00ad",
  "\u212a",
  "0x",
  " ",
  "\n",
  "_",
  "-",
  "A",
].map((text) => Buffer.from(text));
const ALL = policyFromFlags({ mode: "egress" });

// What is judged is what every other reader of the text would look up, or it is refused.
fuzz(
  "names",
  (random) => mutate(pick(NAMES, random), NAME_PIECES, random),
  (bytes) => {
    const text = bytes.toString("utf8");
    if (!judgeName(ALL, text).allowed) return;
    const canonical = text.toLowerCase().replace(/\.$/, "");
    expect(canonical).toMatch(/^[a-z0-9-]+(\.[a-z0-9-]+)+$/);
    // As C reads it.
    expect(text.split("\0")[0]).toBe(text);
    // As browsers and Node's own fetch read it, where they take it at all: punycode may be none.
    if (!URL.canParse(`http://${text}/`)) return;
    expect(new URL(`http://${text}/`).hostname.replace(/\.$/, "")).toBe(canonical);
    // As a server's name in TLS and in HTTP.
    const target = { ...TARGET, names: [canonical] };
    const saysSo = [hello([serverName(text)]), Buffer.from(`GET / HTTP/1.1\r\nHost: ${text}\r\n\r\n`)];
    for (const bytes of saysSo) {
      expect(judgeFirstBytes(bytes, target, ALL, { host: HOST })).toMatchObject({
        sees: { host: canonical },
      });
    }
  },
);
