/**
 * IP addresses: strict texts, canonical bytes, and the IPv4 addresses that hide in IPv6 ones.
 *
 * An address is parsed once, here. What is judged is what is dialled: `text` of the same value. No other spelling of an
 * address is one: what the C library or a URL parser would also take for 127.0.0.1 (0x7f.1, 2130706433, 0177.0.0.1, 127.1,
 * full-width digits, a trailing dot, a zone) is refused as text.
 */

declare const canonical: unique symbol;

/** An address that `parseAddress` made; nothing else makes one. */
export interface IpAddress {
  readonly [canonical]: true;
  /** An IPv4-mapped address (::ffff:0:0/96) is of family 4: every kernel dials it so (RFC 4291 section 2.5.5.2). */
  readonly family: 4 | 6;
  /** 4 or 16 bytes, in network order. Not to be written to. */
  readonly bytes: Uint8Array;
  /** Dotted decimal, or RFC 5952: what to dial and to show, the same for all spellings. */
  readonly text: string;
}

/** An address from its 4 or 16 bytes, or from its text; undefined where it is none. */
export function parseAddress(from: Uint8Array | string): IpAddress | undefined {
  const bytes = typeof from === "string" ? (readIpv4(from) ?? readIpv6(from)) : Uint8Array.from(from);
  if (bytes?.length === 4) return ipv4(bytes);
  if (bytes?.length !== 16) return undefined;
  if (hasPrefix(bytes, MAPPED, 96)) return ipv4(bytes.slice(12));
  return make(6, bytes, formatIpv6(bytes));
}

export function sameAddress(one: IpAddress, other: IpAddress): boolean {
  return one.text === other.text;
}

/** Whether the first `length` bits are those of `prefix`. */
export function hasPrefix(bytes: Uint8Array, prefix: Uint8Array, length: number): boolean {
  const whole = length >> 3;
  for (let at = 0; at < whole; at++) if (bytes[at] !== prefix[at]) return false;
  const rest = length & 7;
  if (rest === 0) return true;
  const mask = (0xff << (8 - rest)) & 0xff;
  return ((bytes[whole] ?? 0) & mask) === ((prefix[whole] ?? 0) & mask);
}

/**
 * Every IPv4 address that a router or a translator may read out of an IPv6 address; none for IPv4, whose mapped form is
 * unwrapped already. Where a form has several readings (RFC 6052 with an unknown prefix length, Teredo's server and
 * client) all are told.
 */
export function embeddedIpv4(address: IpAddress): IpAddress[] {
  if (address.family === 4) return [];
  const { bytes } = address;
  const found: Uint8Array[] = [];
  const last = bytes.slice(12);
  // ::/96 IPv4-compatible (RFC 4291 section 2.5.5.1) and ::ffff:0:0:0/96 IPv4-translated (RFC 2765).
  if (hasPrefix(bytes, ZERO, 96) || hasPrefix(bytes, TRANSLATED, 96)) found.push(last);
  // NAT64: the well-known prefix (RFC 6052), and the local-use one (RFC 8215), whose length only its network knows.
  if (hasPrefix(bytes, NAT64, 96)) found.push(last);
  if (hasPrefix(bytes, NAT64_LOCAL, 48)) found.push(...localReadings(bytes));
  // 6to4 (RFC 3056): the router's address follows the prefix.
  if (hasPrefix(bytes, SIX_TO_FOUR, 16)) found.push(bytes.slice(2, 6));
  // Teredo (RFC 4380): the server's address, and the client's with every bit inverted.
  if (hasPrefix(bytes, TEREDO, 32))
    found.push(
      bytes.slice(4, 8),
      last.map((byte) => ~byte),
    );
  // ISATAP (RFC 5214): an interface identifier under any prefix, with or without its universal bit.
  if (isIsatap(bytes)) found.push(last);
  return found.map(ipv4);
}

const ZERO = new Uint8Array(16);
const MAPPED = prefixOf("::ffff:0:0");
const TRANSLATED = prefixOf("::ffff:0:0:0");
const NAT64 = prefixOf("64:ff9b::");
const NAT64_LOCAL = prefixOf("64:ff9b:1::");
const SIX_TO_FOUR = prefixOf("2002::");
const TEREDO = prefixOf("2001::");
/** Where RFC 6052 section 2.2 puts the four bytes for prefixes of 48, 56, 64 and 96 bits; byte 8 is left out. */
const NAT64_PLACES = [
  [6, 7, 9, 10],
  [7, 9, 10, 11],
  [9, 10, 11, 12],
  [12, 13, 14, 15],
];

function isIsatap(bytes: Uint8Array): boolean {
  return ((bytes[8] ?? 0) & 0xfd) === 0 && bytes[9] === 0 && bytes[10] === 0x5e && bytes[11] === 0xfe;
}

/** Those that begin with zero are the padding of another length: no translator serves 0.0.0.0/8. */
function localReadings(bytes: Uint8Array): Uint8Array[] {
  const readings = NAT64_PLACES.map((places) => Uint8Array.from(places, (place) => bytes[place] ?? 0));
  return readings.filter((reading) => reading[0] !== 0);
}

function prefixOf(text: string): Uint8Array {
  return readIpv6(text) ?? ZERO;
}

function ipv4(bytes: Uint8Array): IpAddress {
  return make(4, bytes, bytes.join("."));
}

function make(family: 4 | 6, bytes: Uint8Array, text: string): IpAddress {
  return { family, bytes, text } as IpAddress;
}

/** Four decimal numbers without leading zeros (RFC 6943 section 3.1.1, the strict form). */
function readIpv4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(?:0|[1-9][0-9]{0,2})$/.test(part))) return undefined;
  const numbers = parts.map(Number);
  return numbers.every((number) => number <= 255) ? Uint8Array.from(numbers) : undefined;
}

/** The forms of RFC 4291 section 2.2, without brackets, zone or prefix length. */
function readIpv6(text: string): Uint8Array | undefined {
  if (text.length > 45 || !/^[0-9A-Fa-f:.]+$/.test(text)) return undefined;
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, index) => readGroups(half, index === halves.length - 1));
  if (head === undefined) return undefined;
  if (halves.length === 1) return head.length === 16 ? Uint8Array.from(head) : undefined;
  // "::" stands for at least one group.
  if (tail === undefined || head.length + tail.length > 14) return undefined;
  const bytes = new Uint8Array(16);
  bytes.set(head);
  bytes.set(tail, 16 - tail.length);
  return bytes;
}

/** Groups between colons as bytes; the very last may be IPv4. */
function readGroups(half: string, mayEndInIpv4: boolean): number[] | undefined {
  if (half === "") return [];
  const groups = half.split(":");
  const bytes: number[] = [];
  for (const [index, group] of groups.entries()) {
    if (/^[0-9A-Fa-f]{1,4}$/.test(group)) {
      const value = Number.parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
      continue;
    }
    const quad = mayEndInIpv4 && index === groups.length - 1 ? readIpv4(group) : undefined;
    if (quad === undefined) return undefined;
    bytes.push(...quad);
  }
  return bytes;
}

/** RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as "::". */
function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16),
  );
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (groups[start + length] === "0") length++;
    if (length > best.length) best = { start, length };
  }
  if (best.length < 2) return groups.join(":");
  const end = best.start + best.length;
  return `${groups.slice(0, best.start).join(":")}::${groups.slice(end).join(":")}`;
}
