import { embeddedIpv4, type IpAddress } from "./address.js";
import { cidrContains, cidrCovers, parseCidr, type Cidr } from "./cidr.js";
import { isProblem } from "./problem.js";

/** A block that is not the public internet, and why. */
export interface SpecialBlock {
  readonly cidr: Cidr;
  readonly what: string;
  /** Where that is said. */
  readonly source: string;
  /** The host itself, or no place to connect to: no user's rule opens any of it. */
  readonly closed: boolean;
}

const CLOSED = true;

/**
 * The IANA IPv4 Special-Purpose Address Registry, as of 2025-10, whole, and multicast. Blocks that it calls globally
 * reachable (AS112, AMT, the anycast addresses in 192.0.0.0/24) are in it too: they are answered by whatever network is
 * nearest, and no program needs them.
 */
const IPV4: readonly SpecialBlock[] = [
  block("0.0.0.0/8", "this network", "RFC 791", CLOSED),
  block("10.0.0.0/8", "private", "RFC 1918"),
  block("100.64.0.0/10", "shared by carriers", "RFC 6598"),
  block("127.0.0.0/8", "loopback", "RFC 1122", CLOSED),
  block("169.254.0.0/16", "link-local", "RFC 3927"),
  block("172.16.0.0/12", "private", "RFC 1918"),
  block("192.0.0.0/24", "protocol assignments", "RFC 6890"),
  block("192.0.2.0/24", "documentation", "RFC 5737"),
  block("192.31.196.0/24", "AS112", "RFC 7535"),
  block("192.52.193.0/24", "AMT", "RFC 7450"),
  block("192.88.99.0/24", "6to4 relays", "RFC 7526"),
  block("192.168.0.0/16", "private", "RFC 1918"),
  block("192.175.48.0/24", "AS112", "RFC 7534"),
  block("198.18.0.0/15", "benchmarking", "RFC 2544"),
  block("198.51.100.0/24", "documentation", "RFC 5737"),
  block("203.0.113.0/24", "documentation", "RFC 5737"),
  block("224.0.0.0/4", "multicast", "RFC 5771", CLOSED),
  block("255.255.255.255/32", "broadcast", "RFC 919", CLOSED),
  block("240.0.0.0/4", "reserved", "RFC 1112"),
];

/**
 * The IANA IPv6 Special-Purpose Address Registry, as of 2025-10, with multicast and what was deprecated. It names blocks
 * for the message only outside of 2000::/3: there nothing is public.
 */
const IPV6: readonly SpecialBlock[] = [
  block("::/128", "unspecified", "RFC 4291", CLOSED),
  block("::1/128", "loopback", "RFC 4291", CLOSED),
  block("::/96", "IPv4-compatible", "RFC 4291"),
  block("::ffff:0:0:0/96", "IPv4-translated", "RFC 2765"),
  block("64:ff9b:1::/48", "NAT64 for local use", "RFC 8215"),
  block("100::/64", "discard-only", "RFC 6666"),
  block("100:0:0:1::/64", "dummy prefix", "RFC 9780"),
  // Teredo, benchmarking, AMT, AS112, ORCHID and DRIP are parts of it.
  block("2001::/23", "protocol assignments and tunnels", "RFC 2928"),
  block("2001:db8::/32", "documentation", "RFC 3849"),
  block("2002::/16", "6to4", "RFC 3056"),
  block("2620:4f:8000::/48", "AS112", "RFC 7534"),
  block("3fff::/20", "documentation", "RFC 9637"),
  block("5f00::/16", "segment routing", "RFC 9602"),
  block("fc00::/7", "private", "RFC 4193"),
  // No interface is known to dial it through.
  block("fe80::/10", "link-local", "RFC 4291", CLOSED),
  block("fec0::/10", "site-local", "RFC 3879"),
  block("ff00::/8", "multicast", "RFC 4291", CLOSED),
];

/** The only range of IPv6 from which IANA assigns global unicast addresses (RFC 4291 section 2.4, RFC 3587). */
const GLOBAL_IPV6 = cidr("2000::/3");
const ANY_IPV6 = block("::/0", "not assigned for the public internet", "RFC 4291");
/** An IPv4 address as a translator's network reaches it; RFC 6052 forbids it for any but global ones. */
const NAT64 = cidr("64:ff9b::/96");

/** Whether it is an address of the public internet, and every IPv4 address in it is one too. */
export function isGlobalUnicast(address: IpAddress): boolean {
  return specialBlockOf(address) === undefined;
}

/** The block that keeps an address, or one that it carries, from being public. */
export function specialBlockOf(address: IpAddress): SpecialBlock | undefined {
  const own = ownBlock(address);
  if (own !== undefined) return own;
  for (const inner of embeddedIpv4(address)) {
    const special = ownBlock(inner);
    if (special !== undefined) return special;
  }
  return undefined;
}

function ownBlock(address: IpAddress): SpecialBlock | undefined {
  const special = (address.family === 4 ? IPV4 : IPV6).find((entry) => cidrContains(entry.cidr, address));
  if (special !== undefined || address.family === 4) return special;
  const isPublic = cidrContains(GLOBAL_IPV6, address) || cidrContains(NAT64, address);
  return isPublic ? undefined : ANY_IPV6;
}

/** The block, if any, that holds all of `inner`: nothing in it is public. */
export function specialBlockAround(inner: Cidr): SpecialBlock | undefined {
  const blocks = inner.base.family === 4 ? IPV4 : IPV6;
  return blocks.find((entry) => cidrCovers(entry.cidr, inner));
}

function block(text: string, what: string, source: string, closed = false): SpecialBlock {
  return { cidr: cidr(text), what, source, closed };
}

/** A block that this file spells. */
function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (isProblem(parsed)) throw new Error(`no block: ${text}`);
  return parsed;
}
