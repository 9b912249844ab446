import { expect, it, vi } from "vitest";
import { judgeAddress, policyFromFlags, readHostNetwork } from "../../../src/network/index.js";
import { address } from "./support.js";

vi.mock("node:os", () => ({
  networkInterfaces: () => ({
    lo: [{ address: "127.0.0.1", cidr: "127.0.0.1/8" }],
    eth0: [
      { address: "5.9.1.2", cidr: "5.9.1.2/26" },
      { address: "2a01:4f8::2", cidr: "2a01:4f8::2/64" },
      { address: "fe80::1", cidr: "fe80::1/64" },
    ],
    // All of the internet is behind it, and one without a netmask that Node understands.
    tun0: [{ address: "8.7.6.5", cidr: "8.7.6.5/0" }],
    tun1: [{ address: "8.7.6.4", cidr: null }],
    gone: undefined,
  }),
}));

it("reads what is the host's own from its interfaces", () => {
  const { addresses, links } = readHostNetwork();
  expect(addresses.map(({ text }) => text)).toEqual([
    "127.0.0.1",
    "5.9.1.2",
    "2a01:4f8::2",
    "fe80::1",
    "8.7.6.5",
    "8.7.6.4",
  ]);
  expect(links.map(({ text }) => text)).toEqual(["127.0.0.0/8", "5.9.1.0/26", "2a01:4f8::/64", "fe80::/64"]);
});

it("keeps a machine from it although nobody said what it is", () => {
  const policy = policyFromFlags({ mode: "egress" });
  const connect = (text: string): boolean =>
    judgeAddress(policy, { address: address(text), port: 443, names: [] }).allowed;
  for (const text of ["5.9.1.2", "5.9.1.3", "2a01:4f8::2", "2a01:4f8::3", "8.7.6.5", "8.7.6.4"]) {
    expect(connect(text)).toBe(false);
  }
  for (const text of ["5.9.1.64", "2a01:4f8:0:1::2", "8.7.6.3"]) expect(connect(text)).toBe(true);
});
