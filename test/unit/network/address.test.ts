import { describe, expect, it, test } from "vitest";
import { embeddedIpv4, hasPrefix, parseAddress } from "../../../src/network/address.js";
import {
  cidrContains,
  cidrCovers,
  cidrOf,
  isSingle,
  parseCidr,
  type Cidr,
} from "../../../src/network/cidr.js";
import { readHostNetwork } from "../../../src/network/index.js";
import { isProblem } from "../../../src/network/problem.js";
import { isGlobalUnicast, specialBlockOf } from "../../../src/network/special-purpose.js";
import { randomFrom } from "../workspace/diff/random-trees.js";
import { address } from "./support.js";

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (isProblem(parsed)) throw new Error(`${text}: ${parsed.problem}`);
  return parsed;
}

describe("the text of an address", () => {
  test.each([
    ["127.0.0.1", "127.0.0.1"],
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:0db8::0001", "2001:db8::1"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["1:0:0:2:3:0:0:4", "1::2:3:0:0:4"],
    ["64:ff9b::127.0.0.1", "64:ff9b::7f00:1"],
    ["::127.0.0.1", "::7f00:1"],
    // Mapped addresses are the IPv4 ones.
    ["::ffff:127.0.0.1", "127.0.0.1"],
    ["::ffff:7f00:1", "127.0.0.1"],
    ["::FFFF:7F00:0001", "127.0.0.1"],
    ["0:0:0:0:0:ffff:0a00:0001", "10.0.0.1"],
  ])("%s is %s", (text, canonical) => {
    expect(parseAddress(text)?.text).toBe(canonical);
    expect(parseAddress(canonical)).toEqual(parseAddress(text));
  });

  test.each([
    "",
    "0x7f.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "0",
    "127.0.0.1.",
    "127.0.0.1 ",
    " 127.0.0.1",
    "127.0.0.01",
    "127.0.0.256",
    "127.0.0.1.1",
    "127..0.1",
    "+127.0.0.1",
    "127.0.0.1\0",
    "127.0.0.1\n",
    "１２７.0.0.1",
    "127。0。0。1",
    "①27.0.0.1",
    "1e2.0.0.1",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "1:2:3:4::5:6:7:8",
    ":1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    "::1%lo",
    "fe80::1%eth0",
    "fe80::1%25eth0",
    "[::1]",
    "::00001",
    "::g",
    "::127.1",
    "::127.0.0.1:1",
    "1.2.3.4::",
    "::1.2.3.4::",
    "::0x1",
    "::1/128",
    "0000:0000:0000:0000:0000:ffff:0127.000.000.0001",
  ])("%j is none", (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it("comes from 4 or 16 bytes too, and is kept apart from them", () => {
    const bytes = Uint8Array.from([127, 0, 0, 1]);
    const parsed = parseAddress(bytes);
    bytes.fill(9);
    expect(parsed).toMatchObject({ family: 4, text: "127.0.0.1", bytes: Uint8Array.from([127, 0, 0, 1]) });
    const mapped = new Uint8Array(16).fill(0xff, 10, 12);
    expect(parseAddress(mapped)).toMatchObject({ family: 4, text: "0.0.0.0" });
    for (const length of [0, 1, 3, 5, 15, 17]) expect(parseAddress(new Uint8Array(length))).toBeUndefined();
  });

  it("is one for all spellings of random bytes", () => {
    const random = randomFrom(7);
    for (let round = 0; round < 2000; round++) {
      const bytes = Uint8Array.from({ length: random(2) === 0 ? 4 : 16 }, () =>
        random(2) === 0 ? 0 : random(256),
      );
      const parsed = parseAddress(bytes);
      expect(parseAddress(parsed?.text ?? "")).toEqual(parsed);
      if (bytes.length === 4) continue;
      const groups = Array.from({ length: 8 }, (_, at) =>
        Buffer.from(bytes)
          .readUInt16BE(2 * at)
          .toString(16),
      );
      expect(parseAddress(groups.join(":").toUpperCase())).toEqual(parsed);
    }
  });
});

describe("IPv4 within IPv6", () => {
  test.each([
    ["::127.0.0.1", ["127.0.0.1"]],
    ["::ffff:0:10.0.0.1", ["10.0.0.1"]],
    ["64:ff9b::10.0.0.1", ["10.0.0.1"]],
    ["2002:7f00:1::", ["127.0.0.1"]],
    ["2002:a00:1:1:2:3:4:5", ["10.0.0.1"]],
    ["2001:0:808:808:0:0:80ff:fffe", ["8.8.8.8", "127.0.0.1"]],
    ["2a00::5efe:10.0.0.1", ["10.0.0.1"]],
    ["2a00::200:5efe:10.0.0.1", ["10.0.0.1"]],
    ["64:ff9b:1::127.0.0.1", ["127.0.0.1"]],
    ["64:ff9b:1:7f00:0:100::", ["127.0.0.1"]],
    ["64:ff9b:1:7f:0:1::", ["127.0.0.1"]],
    ["64:ff9b:1:0:7f:0:100:0", ["127.0.0.1"]],
    ["2a00::1", []],
    ["8.8.8.8", []],
  ])("%s carries %j", (text, inner) => {
    expect(embeddedIpv4(address(text)).map((one) => one.text)).toEqual(expect.arrayContaining(inner));
    if (inner.length === 0) expect(embeddedIpv4(address(text))).toEqual([]);
  });
});

describe("what is public", () => {
  test.each([
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450::1",
    "3ffe::1",
    "64:ff9b::8.8.8.8",
    "2a00::5efe:8.8.8.8",
  ])("%s is", (text) => {
    expect(specialBlockOf(address(text))).toBeUndefined();
    expect(isGlobalUnicast(address(text))).toBe(true);
  });

  test.each([
    ["0.0.0.0", "this network"],
    ["0.1.2.3", "this network"],
    ["10.255.255.255", "private"],
    ["100.64.0.0", "shared by carriers"],
    ["100.127.255.255", "shared by carriers"],
    ["127.255.255.255", "loopback"],
    ["169.254.169.254", "link-local"],
    ["172.16.0.0", "private"],
    ["172.31.255.255", "private"],
    ["192.0.0.9", "protocol assignments"],
    ["192.0.2.1", "documentation"],
    ["192.31.196.1", "AS112"],
    ["192.52.193.1", "AMT"],
    ["192.88.99.1", "6to4 relays"],
    ["192.168.1.1", "private"],
    ["192.175.48.1", "AS112"],
    ["198.18.0.1", "benchmarking"],
    ["198.19.255.255", "benchmarking"],
    ["198.51.100.1", "documentation"],
    ["203.0.113.1", "documentation"],
    ["224.0.0.1", "multicast"],
    ["239.255.255.255", "multicast"],
    ["240.0.0.1", "reserved"],
    ["255.255.255.255", "broadcast"],
    ["::", "unspecified"],
    ["::1", "loopback"],
    ["::8.8.8.8", "IPv4-compatible"],
    ["::ffff:0:8.8.8.8", "IPv4-translated"],
    ["64:ff9b::127.0.0.1", "loopback"],
    ["64:ff9b::10.0.0.1", "private"],
    ["64:ff9b:1::8.8.8.8", "NAT64 for local use"],
    ["64:ff9b:2::1", "not assigned for the public internet"],
    ["100::1", "discard-only"],
    ["100:0:0:1::1", "dummy prefix"],
    ["2001::1", "protocol assignments and tunnels"],
    ["2001:1ff:ffff::1", "protocol assignments and tunnels"],
    ["2001:db8::1", "documentation"],
    ["2002:808:808::1", "6to4"],
    ["2620:4f:8000::1", "AS112"],
    ["2a00::5efe:10.0.0.1", "private"],
    ["2a00::200:5efe:127.0.0.1", "loopback"],
    ["3fff::1", "documentation"],
    ["3fff:fff:ffff::1", "documentation"],
    ["4000::1", "not assigned for the public internet"],
    ["1fff::1", "not assigned for the public internet"],
    ["5f00::1", "segment routing"],
    ["fc00::1", "private"],
    ["fd00:ec2::254", "private"],
    ["fe80::1", "link-local"],
    ["febf::1", "link-local"],
    ["fec0::1", "site-local"],
    ["ff02::1", "multicast"],
    ["::ffff:192.168.0.1", "private"],
  ])("%s is not: %s", (text, what) => {
    expect(specialBlockOf(address(text))?.what).toBe(what);
    expect(isGlobalUnicast(address(text))).toBe(false);
  });
});

describe("a block of addresses", () => {
  it("has one text", () => {
    expect(cidr("10.0.0.0/8").text).toBe("10.0.0.0/8");
    expect(cidr("2001:DB8:0::/32").text).toBe("2001:db8::/32");
    expect(cidr("10.1.2.3/32").text).toBe("10.1.2.3");
    expect(cidr("::1").text).toBe("::1");
    expect(cidr("::ffff:10.0.0.0/104").text).toBe("10.0.0.0/8");
    expect(cidr("0.0.0.0/0").text).toBe("0.0.0.0/0");
    expect(isSingle(cidr("10.1.2.3"))).toBe(true);
    expect(isSingle(cidr("10.0.0.0/31"))).toBe(false);
  });

  test.each([
    ["10.0.0.0/33", "0 to 32"],
    ["10.0.0.0/-1", "0 to 32"],
    ["10.0.0.0/08", "0 to 32"],
    ["10.0.0.0/", "0 to 32"],
    ["10.0.0.0/8/8", "0 to 32"],
    ["10.0.0.0/255.0.0.0", "0 to 32"],
    ["::/129", "0 to 128"],
    ["::ffff:10.0.0.0/8", "96 to 128"],
    ["10/8", "no address"],
    ["127.1/8", "no address"],
    ["10.0.0.1/8", "bits behind the prefix"],
    ["2001:db8::1/32", "bits behind the prefix"],
  ])("%s is none: %s", (text, problem) => {
    expect(parseCidr(text)).toMatchObject({ problem: expect.stringContaining(problem) as string });
  });

  it("contains what begins with its bits, of its family only", () => {
    expect(cidrContains(cidr("10.0.0.0/9"), address("10.127.255.255"))).toBe(true);
    expect(cidrContains(cidr("10.0.0.0/9"), address("10.128.0.0"))).toBe(false);
    expect(cidrContains(cidr("0.0.0.0/0"), address("::1"))).toBe(false);
    expect(cidrContains(cidr("::/0"), address("1.2.3.4"))).toBe(false);
    expect(cidrContains(cidr("::/0"), address("::ffff:1.2.3.4"))).toBe(false);
    expect(cidrCovers(cidr("10.0.0.0/8"), cidr("10.1.0.0/16"))).toBe(true);
    expect(cidrCovers(cidr("10.1.0.0/16"), cidr("10.0.0.0/8"))).toBe(false);
    expect(cidrOf(address("10.1.2.3"), 8).text).toBe("10.0.0.0/8");
  });

  it("is the same whether bits are compared one by one", () => {
    const random = randomFrom(11);
    const bits = (bytes: Uint8Array): string =>
      Array.from(bytes, (byte) => byte.toString(2).padStart(8, "0")).join("");
    for (let round = 0; round < 2000; round++) {
      const one = Uint8Array.from({ length: 4 }, () => random(256));
      const other = one.map((byte, at) => (at < random(5) ? byte : byte ^ (1 << random(8))));
      const length = random(33);
      expect(hasPrefix(one, other, length)).toBe(bits(one).slice(0, length) === bits(other).slice(0, length));
    }
  });
});

it("tells the host's own addresses, the loopback among them", () => {
  const host = readHostNetwork();
  expect(host.addresses.map((one) => one.text)).toContain("127.0.0.1");
  expect(host.links.map((one) => one.text)).toContain("127.0.0.0/8");
});
