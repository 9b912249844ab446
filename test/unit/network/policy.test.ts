import { describe, expect, it, test } from "vitest";
import { cidrOf } from "../../../src/network/cidr.js";
import type { HostNetwork } from "../../../src/network/host-network.js";
import { judgeAddress, judgeName, type NetworkPolicy } from "../../../src/network/policy.js";
import { policyFromFlags, type PolicyFlags } from "../../../src/network/policy-text.js";
import type { Verdict } from "../../../src/network/verdict.js";
import { address } from "./support.js";

/** A host with a public address of each family, in networks of which its neighbours are. */
const HOST: HostNetwork = {
  addresses: ["127.0.0.1", "::1", "5.9.1.2", "2a01:4f8::2"].map(address),
  links: [cidrOf(address("5.9.1.2"), 26), cidrOf(address("2a01:4f8::2"), 64)],
};

function connect(
  policy: PolicyFlags | NetworkPolicy,
  text: string,
  port = 443,
  names: readonly string[] = [],
): Verdict {
  return judgeAddress(asPolicy(policy), { address: address(text), port, names }, HOST);
}

function asPolicy(policy: PolicyFlags | NetworkPolicy): NetworkPolicy {
  const { mode, allow, deny, allowCidrs, allowHostPorts } = policy;
  const isPolicy = [allow, deny, allowCidrs].every(
    (list) => list?.every((rule) => typeof rule === "object") === true,
  );
  if (isPolicy) return policy as NetworkPolicy;
  return policyFromFlags({
    mode,
    allow: allow as string[] | undefined,
    deny: deny as string[] | undefined,
    allowCidrs: allowCidrs as string[] | undefined,
    allowHostPorts,
  });
}

/** A reason and hint are one line each, name what was refused, and say which flag would open it. */
function refusal(verdict: Verdict): string {
  if (verdict.allowed) throw new Error("it is allowed");
  expect(`${verdict.reason}${verdict.hint}`).toMatch(/^[^\p{C}\p{Zl}\p{Zp}]+$/u);
  expect(verdict.hint).not.toBe("");
  return `${verdict.reason} | ${verdict.hint}`;
}

const EGRESS: PolicyFlags = { mode: "egress" };

describe("modes", () => {
  it("off allows nothing, not even a look-up", () => {
    const off = { mode: "off" };
    expect(refusal(judgeName(policyFromFlags(off), "example.org"))).toContain("--network-policy egress");
    expect(refusal(connect(off, "8.8.8.8"))).toContain("8.8.8.8:443");
    expect(refusal(connect(off, "10.0.2.2"))).toContain("no network");
  });

  it("egress allows the public internet, with published ports or without", () => {
    for (const mode of ["egress", "egress+published-ports"]) {
      expect(judgeName(policyFromFlags({ mode }), "Example.org.")).toEqual({ allowed: true });
      expect(connect({ mode }, "8.8.8.8")).toEqual({ allowed: true });
      expect(connect({ mode }, "2606:4700::1111", 22, ["example.org"])).toEqual({ allowed: true });
    }
  });

  it("is refused where a record says anything else", () => {
    const policy = { ...policyFromFlags(EGRESS), mode: "everything" as "egress" };
    expect(judgeName(policy, "example.org").allowed).toBe(false);
    expect(connect(policy, "8.8.8.8").allowed).toBe(false);
  });
});

describe("allow lists", () => {
  const listed: PolicyFlags = { allow: ["example.org:443", "*.example.net", "9.9.9.9:53", "2606:4700::/32"] };

  it("allows the names in it, on their ports", () => {
    const policy = policyFromFlags(listed);
    expect(judgeName(policy, "example.org").allowed).toBe(true);
    expect(judgeName(policy, "www.example.net").allowed).toBe(true);
    expect(refusal(judgeName(policy, "example.net"))).toContain("--network-allow example.net");
    expect(refusal(judgeName(policy, "evilexample.net"))).toContain("no rule allows it");
    expect(refusal(judgeName(policy, "www.example.org"))).toContain("no rule allows it");
    expect(connect(listed, "93.184.216.34", 443, ["example.org"]).allowed).toBe(true);
    expect(refusal(connect(listed, "93.184.216.34", 80, ["example.org"]))).toContain(
      "--network-allow example.org:80",
    );
    expect(connect(listed, "93.184.216.34", 80, ["www.example.net"]).allowed).toBe(true);
  });

  it("refuses an address that no allowed name led to", () => {
    expect(refusal(connect(listed, "93.184.216.34"))).toContain("--network-allow 93.184.216.34:443");
    expect(refusal(connect(listed, "93.184.216.34", 443, ["other.test"]))).toContain(
      "93.184.216.34:443 (other.test)",
    );
  });

  it("allows the addresses in it by themselves, and no names that lead there", () => {
    expect(connect(listed, "9.9.9.9", 53).allowed).toBe(true);
    expect(connect(listed, "::ffff:9.9.9.9", 53).allowed).toBe(true);
    expect(connect(listed, "9.9.9.9", 443).allowed).toBe(false);
    expect(connect(listed, "2606:4700::1111").allowed).toBe(true);
    expect(judgeName(policyFromFlags(listed), "dns.quad9.net").allowed).toBe(false);
  });

  it("allows nothing when it is empty", () => {
    for (const empty of [{ allow: [] }, { file: { name: "f", text: "" } }, { mode: "egress", allow: [] }]) {
      expect(refusal(judgeName(policyFromFlags(empty), "example.org"))).toContain("empty");
      expect(connect({ ...policyFromFlags(empty) }, "8.8.8.8").allowed).toBe(false);
    }
  });

  test.each([
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "5.9.1.2",
    "5.9.1.3",
    "2a01:4f8::9",
    "::1",
    "64:ff9b::a00:1",
  ])("opens no way to %s, though an allowed name leads there", (text) => {
    for (const policy of [listed, { allow: ["*"] }, { allow: ["0.0.0.0/0", "::/0"] }]) {
      expect(connect(policy, text, 443, ["example.org"]).allowed).toBe(false);
    }
  });
});

describe("deny rules always win", () => {
  const policy: PolicyFlags = {
    allow: ["*", "bad.example.org", "9.9.9.9"],
    deny: ["*.example.org", "9.9.9.9", "*:25", "mail.example.net:587", "10.1.0.0/16"],
    allowCidrs: ["10.0.0.0/8"],
    allowHostPorts: [25, 3000],
  };

  it("over an allow rule for the same", () => {
    expect(refusal(judgeName(policyFromFlags(policy), "bad.example.org"))).toContain("`deny *.example.org`");
    expect(refusal(connect(policy, "9.9.9.9"))).toContain("`deny 9.9.9.9`");
    expect(judgeName(policyFromFlags(policy), "example.org").allowed).toBe(true);
  });

  it("over opened blocks and ports of the host", () => {
    expect(connect(policy, "10.2.0.1").allowed).toBe(true);
    expect(connect(policy, "10.1.0.1").allowed).toBe(false);
    expect(connect(policy, "10.0.2.2", 3000).allowed).toBe(true);
    expect(connect(policy, "10.0.2.2", 25).allowed).toBe(false);
    expect(connect({ ...policy, deny: ["host.pyro.internal"] }, "10.0.2.2", 3000).allowed).toBe(false);
    expect(connect({ ...policy, deny: ["10.0.2.2"] }, "10.0.2.2", 3000).allowed).toBe(false);
  });

  it("where one of the names that led there is denied", () => {
    expect(connect(policy, "8.8.8.8", 443, ["fine.test", "a.example.org"]).allowed).toBe(false);
    expect(connect(policy, "8.8.8.8", 443, ["fine.test", "mail.example.net"]).allowed).toBe(true);
    expect(connect(policy, "8.8.8.8", 587, ["fine.test", "mail.example.net"]).allowed).toBe(false);
  });

  it("by port alone", () => {
    expect(connect(policy, "8.8.8.8", 25).allowed).toBe(false);
    // The name may be looked up: other ports of it are open.
    expect(judgeName(policyFromFlags(policy), "mail.example.net").allowed).toBe(true);
  });

  test.each(["64:ff9b::9.9.9.9", "::ffff:9.9.9.9", "2002:909:909::1", "2a00::5efe:9.9.9.9", "::9.9.9.9"])(
    "over %s, which carries a denied address",
    (text) => expect(refusal(connect(policy, text))).toContain("`deny 9.9.9.9`"),
  );
});

describe("what is not on the public internet", () => {
  test.each([
    ["10.0.0.1", "10.0.0.0/8 is private (RFC 1918)", "--allow-cidr 10.0.0.1:443"],
    ["192.168.1.1", "192.168.0.0/16 is private", "--allow-cidr 192.168.1.1:443"],
    ["100.64.0.1", "shared by carriers", "--allow-cidr"],
    ["169.254.1.1", "link-local", "--allow-cidr"],
    ["fd00::1", "fc00::/7 is private", "--allow-cidr [fd00::1]:443"],
    ["127.0.0.1", "loopback", "--allow-host-port"],
    ["127.255.0.1", "loopback", "--allow-host-port"],
    ["0.0.0.0", "this network", "--allow-host-port"],
    ["::", "unspecified", "--allow-host-port"],
    ["::1", "loopback", "--allow-host-port"],
    ["64:ff9b::7f00:1", "loopback", "--allow-host-port"],
    ["2002:7f00:1::", "loopback", "--allow-host-port"],
    ["::7f00:1", "loopback", "--allow-host-port"],
    ["2a00::5efe:7f00:1", "loopback", "--allow-host-port"],
    ["224.0.0.1", "multicast", "--allow-host-port"],
    ["5.9.1.2", "an address of the host itself", "--allow-host-port"],
    ["2a01:4f8::2", "an address of the host itself", "--allow-host-port"],
    ["64:ff9b::5.9.1.2", "an address of the host itself", "--allow-host-port"],
    ["5.9.1.3", "5.9.1.0/26 is the host's own network", "--allow-cidr 5.9.1.3:443"],
    ["2a01:4f8::3", "2a01:4f8::/64 is the host's own network", "--allow-cidr [2a01:4f8::3]:443"],
    ["64:ff9b::5.9.1.3", "5.9.1.0/26 is the host's own network", "--allow-cidr"],
    ["169.254.169.254", "a cloud's credentials", "--allow-cidr 169.254.169.254:443"],
    ["168.63.129.16", "a cloud's credentials", "--allow-cidr 168.63.129.16:443"],
    ["10.0.2.2", "port 443 of the host is not open", "--allow-host-port 443"],
    ["10.0.2.3", "the machine's own address", "nothing"],
    ["10.0.2.15", "the machine's own address", "nothing"],
  ])("%s is refused: %s", (text, why, flag) => {
    const said = refusal(connect(EGRESS, text));
    expect(said).toContain(why);
    expect(said).toContain(flag);
  });

  it("opens by --allow-cidr, on its ports, with an allow list or without", () => {
    for (const allow of [undefined, ["example.org"], []]) {
      const policy = { allow, allowCidrs: ["10.0.0.0/8:8000-8999", "fd12::/16", "5.9.1.3"] };
      expect(connect(policy, "10.1.2.3", 8080).allowed).toBe(true);
      expect(connect(policy, "::ffff:10.1.2.3", 8080).allowed).toBe(true);
      expect(connect(policy, "10.1.2.3", 443).allowed).toBe(false);
      expect(connect(policy, "fd12::1").allowed).toBe(true);
      expect(connect(policy, "fd13::1").allowed).toBe(false);
      expect(connect(policy, "5.9.1.3").allowed).toBe(true);
      expect(connect(policy, "5.9.1.4").allowed).toBe(false);
      // An embedding of an opened address is another place.
      expect(connect(policy, "64:ff9b::10.1.2.3", 8080).allowed).toBe(false);
    }
  });

  const everything = {
    allowCidrs: ["0.0.0.0/0", "::/0", "169.254.0.0/16", "10.0.0.0/8", "100.64.0.0/10", "fd00::/8"],
  };

  test.each([
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "::1",
    "::",
    "5.9.1.2",
    "2a01:4f8::2",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b::5.9.1.2",
    "169.254.169.254",
    "64:ff9b::169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd20:ce::254",
    "10.0.2.2",
    "10.0.2.3",
    "10.0.2.15",
    "224.0.0.1",
    "fe80::1",
    "255.255.255.255",
  ])("no block opens %s", (text) => expect(connect(everything, text).allowed).toBe(false));

  it("but for metadata, each address of which opens by its own rule", () => {
    const policy = { allowCidrs: ["169.254.169.254:80", "[fd00:ec2::254]:80"] };
    expect(connect(policy, "169.254.169.254", 80).allowed).toBe(true);
    expect(connect(policy, "169.254.169.254", 443).allowed).toBe(false);
    expect(connect(policy, "fd00:ec2::254", 80).allowed).toBe(true);
    expect(connect(policy, "169.254.170.2", 80).allowed).toBe(false);
    expect(connect(policy, "64:ff9b::169.254.169.254", 80).allowed).toBe(false);
  });
});

describe("the host", () => {
  const policy: PolicyFlags = { allow: ["example.org"], allowHostPorts: [3000] };

  it("is host.pyro.internal on the ports that the user opened, whatever the lists allow", () => {
    expect(judgeName(policyFromFlags(policy), "HOST.pyro.internal.").allowed).toBe(true);
    expect(connect(policy, "10.0.2.2", 3000).allowed).toBe(true);
    expect(connect(policy, "10.0.2.2", 3000, ["host.pyro.internal"]).allowed).toBe(true);
    expect(connect(policy, "10.0.2.2", 3001).allowed).toBe(false);
    expect(refusal(judgeName(policyFromFlags(EGRESS), "host.pyro.internal"))).toContain(
      "--allow-host-port PORT",
    );
  });

  it("is not what a name says that leads elsewhere", () => {
    expect(connect(policy, "8.8.8.8", 3000, ["host.pyro.internal"]).allowed).toBe(false);
    expect(connect(policy, "127.0.0.1", 3000, ["host.pyro.internal"]).allowed).toBe(false);
    expect(connect(policy, "127.0.0.1", 3000).allowed).toBe(false);
    expect(connect(policy, "5.9.1.2", 3000).allowed).toBe(false);
  });

  it("is read from its interfaces where nobody says", () => {
    const target = { address: address("127.0.0.1"), port: 3000, names: [] };
    expect(judgeAddress(policyFromFlags(policy), target).allowed).toBe(false);
  });
});

describe("names", () => {
  test.each([
    ["localhost", "not a name of the internet"],
    ["a.localhost", "not a name of the internet"],
    ["evil.pyro.internal", "not a name of the internet"],
    ["metadata.google.internal", "a cloud's credentials"],
    ["METADATA.google.internal.", "a cloud's credentials"],
    ["instance-data", "a cloud's credentials"],
    ["intranet", "a name without a dot"],
    ["127.0.0.1", "an address, not a name"],
    ["0x7f.1", "a number"],
    ["evil.test\0.allowed.com", "not in names of hosts"],
    ["evil\u001b[2J.test", "not in names of hosts"],
    ["b\u00fccher.example", "not ASCII"],
    ["", "empty"],
  ])("%j is refused, whatever is allowed", (name, why) => {
    expect(
      refusal(
        judgeName(policyFromFlags({ allow: ["*", "*.allowed.com", "*.localhost", "*.internal"] }), name),
      ),
    ).toContain(why);
  });

  it("without a dot are looked up when a rule names them, but never localhost", () => {
    const policy = policyFromFlags({ allow: ["mirror", "localhost"] });
    expect(judgeName(policy, "mirror").allowed).toBe(true);
    expect(judgeName(policy, "localhost").allowed).toBe(false);
  });

  it("of metadata are looked up when a metadata address is opened", () => {
    const opened = { mode: "egress", allowCidrs: ["169.254.169.254"] };
    expect(judgeName(policyFromFlags(opened), "metadata.google.internal").allowed).toBe(true);
    expect(
      judgeName(policyFromFlags({ allowCidrs: ["169.254.0.0/16"] }), "metadata.google.internal").allowed,
    ).toBe(false);
  });
});

describe("targets that no honest caller has", () => {
  test.each([0, -1, 65_536, 1.5, Number.NaN])("port %d is refused", (port) => {
    expect(connect(EGRESS, "8.8.8.8", port).allowed).toBe(false);
  });

  test.each(["Example.org", "example.org.", "a b", "", "evil\n.test"])("the name %j is refused", (name) => {
    const verdict = connect(EGRESS, "8.8.8.8", 443, [name]);
    expect(verdict.allowed).toBe(false);
    expect(verdict.allowed || verdict.reason).not.toContain("\n");
  });
});
