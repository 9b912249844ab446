import { hasPrefix, parseAddress, type IpAddress } from "./address.js";
import type { Problem } from "./problem.js";

/** A block of addresses of one family; the bits behind the prefix are zero. */
export interface Cidr {
  readonly base: IpAddress;
  /** In bits: up to 32 or 128. */
  readonly prefix: number;
  /** Canonical; a single address has no length. */
  readonly text: string;
}

/** A block, or a single address; a block within ::ffff:0:0/96 is one of IPv4. */
export function parseCidr(text: string): Cidr | Problem {
  const slash = text.indexOf("/");
  const base = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (base === undefined) {
    return {
      problem: "that is no address",
      hint: "write addresses as 192.0.2.1 or 2001:db8::1, and blocks as 192.0.2.0/24",
    };
  }
  const bits = base.bytes.length * 8;
  if (slash < 0) return cidrOf(base, bits);
  const length = text.slice(slash + 1);
  // The 96 bits that an IPv4-mapped block has more.
  const mapped = base.family === 4 && text.includes(":") ? 96 : 0;
  const prefix = /^(?:0|[1-9][0-9]{0,2})$/.test(length) ? Number(length) - mapped : -1;
  if (prefix < 0 || prefix > bits) {
    return {
      problem: `the length behind the / has to be ${mapped} to ${bits + mapped}`,
      hint: "such as 192.0.2.0/24",
    };
  }
  const cidr = cidrOf(base, prefix);
  if (cidr.base.text === base.text) return cidr;
  return {
    problem: "bits behind the prefix are set",
    hint: `write ${cidr.text} for the block, or ${base.text} for the address`,
  };
}

/** The block of that length around an address. */
export function cidrOf(address: IpAddress, prefix: number): Cidr {
  const bytes = address.bytes.map((byte, index) => {
    const kept = Math.min(8, Math.max(0, prefix - 8 * index));
    return byte & ((0xff << (8 - kept)) & 0xff);
  });
  // The family stays: what is cut from an address that is not mapped is not mapped either.
  const base = parseAddress(bytes) ?? address;
  const single = prefix === address.bytes.length * 8;
  return { base, prefix, text: single ? base.text : `${base.text}/${prefix}` };
}

export function cidrContains(cidr: Cidr, address: IpAddress): boolean {
  return cidr.base.family === address.family && hasPrefix(address.bytes, cidr.base.bytes, cidr.prefix);
}

/** Whether all of `inner` lies in `outer`. */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return outer.prefix <= inner.prefix && cidrContains(outer, inner.base);
}

/** Whether it is one address. */
export function isSingle(cidr: Cidr): boolean {
  return cidr.prefix === cidr.base.bytes.length * 8;
}
