import { LIMITS } from "../protocol/index.js";
import type { IpAddress } from "./address.js";
import { cidrContains, isSingle, parseCidr, type Cidr } from "./cidr.js";
import { isBelow, parseName } from "./names.js";
import { isProblem, shown, type Problem } from "./problem.js";

/** The hosts that a rule is about. */
export type RuleHost =
  | { readonly kind: "any" }
  | { readonly kind: "name"; readonly name: string }
  /** One or more labels below a name, and not that name. */
  | { readonly kind: "below"; readonly name: string }
  | { readonly kind: "addresses"; readonly cidr: Cidr };

/** Both ends included. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** One rule of an allow or deny list. Its text, parsed again, is the same rule. */
export interface Rule {
  readonly host: RuleHost;
  /** All ports where it names none. */
  readonly ports: PortRange | undefined;
  /** Canonical. */
  readonly text: string;
}

/** A rule that names addresses: what `--allow-cidr` takes. */
export interface CidrRule extends Rule {
  readonly host: Extract<RuleHost, { kind: "addresses" }>;
}

/** Every destination: what a policy without an allow list allows. */
export const ANY_RULE: Rule = { host: { kind: "any" }, ports: undefined, text: "*" };

const ALL_PORTS: PortRange = { from: 1, to: 65_535 };
const FORMS =
  "write example.org, *.example.org, 192.0.2.1 or 192.0.2.0/24, each with :443 or :8000-8999 behind it or without; IPv6 as [2001:db8::1]:443";

/**
 * One rule: `NAME`, `*.NAME`, `*`, `ADDRESS`, `CIDR`, each with `:PORT` or `:PORT-PORT` or without; IPv6 with ports in
 * brackets.
 */
export function parseRule(text: string): Rule | Problem {
  if (text.length > LIMITS.networkRuleCharacters) {
    return { problem: `a rule has at most ${LIMITS.networkRuleCharacters} characters`, hint: FORMS };
  }
  if (text.includes("://")) return { problem: "that is a URL, not a rule", hint: FORMS };
  const split = splitPorts(text);
  if (isProblem(split)) return split;
  const range = split.ports === undefined ? ALL_PORTS : parsePorts(split.ports);
  if (isProblem(range)) return range;
  const ports = range.from <= ALL_PORTS.from && range.to >= ALL_PORTS.to ? undefined : range;
  const host = parseHost(split.host);
  if (isProblem(host)) return host;
  return { host, ports, text: formatRule(host, ports) };
}

/** As `parseRule`, for addresses and blocks only. */
export function parseCidrRule(text: string): CidrRule | Problem {
  const rule = parseRule(text);
  if (isProblem(rule)) return rule;
  const { host, ...rest } = rule;
  if (host.kind === "addresses") return { host, ...rest };
  return { problem: "that is no address or block", hint: "write 192.0.2.0/24 or [2001:db8::/32]:443" };
}

/** A port from 1 to 65535 in decimal. */
export function parsePort(text: string): number | undefined {
  const port = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

export function matchesName(rule: Rule, name: string): boolean {
  const { host } = rule;
  if (host.kind === "any") return true;
  if (host.kind === "name") return host.name === name;
  return host.kind === "below" && isBelow(name, host.name);
}

export function matchesAddress(rule: Rule, address: IpAddress): boolean {
  const { host } = rule;
  return host.kind === "any" || (host.kind === "addresses" && cidrContains(host.cidr, address));
}

export function matchesPort({ ports }: Rule, port: number): boolean {
  return ports === undefined || (ports.from <= port && port <= ports.to);
}

/** Whether the rule is about exactly this address, and no other. */
export function namesExactly({ host }: Rule, address: IpAddress): boolean {
  return host.kind === "addresses" && isSingle(host.cidr) && cidrContains(host.cidr, address);
}

interface Split {
  readonly host: string;
  readonly ports: string | undefined;
}

function splitPorts(text: string): Split | Problem {
  if (text.startsWith("[")) {
    const match = /^\[([^[\]]*)\](?::(.*))?$/s.exec(text);
    const host = match?.[1];
    if (host?.includes(":") !== true)
      return { problem: "in brackets belongs IPv6, with its ports behind", hint: FORMS };
    return { host, ports: match?.[2] };
  }
  const colon = text.indexOf(":");
  // More than one colon: IPv6 without ports.
  if (colon < 0 || text.includes(":", colon + 1)) return { host: text, ports: undefined };
  return { host: text.slice(0, colon), ports: text.slice(colon + 1) };
}

function parsePorts(text: string): PortRange | Problem {
  const [from, to, ...more] = text.split("-").map(parsePort);
  const last = text.includes("-") ? to : from;
  if (from === undefined || last === undefined || more.length > 0 || from > last) {
    return {
      problem: `${shown(text)} is no port`,
      hint: "ports are 1 to 65535: write :443, or :8000-8999 for a range",
    };
  }
  return { from, to: last };
}

function parseHost(text: string): RuleHost | Problem {
  if (text === "*") return { kind: "any" };
  if (text.includes(":") || text.includes("/") || /^[0-9.]+$/.test(text)) {
    const cidr = parseCidr(text);
    return isProblem(cidr) ? cidr : { kind: "addresses", cidr };
  }
  const below = text.startsWith("*.");
  const glob = below ? text.slice(2) : text;
  if (glob.includes("*")) {
    return { problem: '"*" stands alone, or before the first dot', hint: "write * or *.example.org" };
  }
  const parsed = parseName(glob);
  return isProblem(parsed) ? parsed : { kind: below ? "below" : "name", name: parsed.name };
}

function formatRule(host: RuleHost, ports: PortRange | undefined): string {
  const range =
    ports === undefined ? "" : ports.from === ports.to ? `:${ports.from}` : `:${ports.from}-${ports.to}`;
  if (host.kind === "any") return `*${range}`;
  if (host.kind !== "addresses") return `${host.kind === "below" ? "*." : ""}${host.name}${range}`;
  const { text } = host.cidr;
  return host.cidr.base.family === 6 && range !== "" ? `[${text}]${range}` : `${text}${range}`;
}
