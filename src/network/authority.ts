import { parseAddress, type IpAddress } from "./address.js";
import { parseName } from "./names.js";
import { isProblem, shown } from "./problem.js";
import { parsePort } from "./rules.js";

/** The host that a request or a hello names, in its canonical spelling. */
export type NamedHost =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "address"; readonly address: IpAddress };

/** `host` or `host:port` of RFC 3986 section 3.2, without user information. */
export interface Authority {
  readonly host: NamedHost;
  readonly port: number | undefined;
}

/** A host by its name or its bare address; a text is what is wrong with it. */
export function parseNamedHost(text: string): NamedHost | string {
  const address = parseAddress(text);
  if (address !== undefined) return { kind: "address", address };
  const parsed = parseName(text);
  return isProblem(parsed) ? `${shown(text)}: ${parsed.problem}` : { kind: "name", name: parsed.name };
}

/** IPv6 stands in brackets, and nothing else does. A text is what is wrong with it. */
export function parseAuthority(text: string): Authority | string {
  const match = /^(?:\[([^\]]*:[^\]]*)\]|([^:]*))(?::(.*))?$/s.exec(text);
  if (match === null) return `${shown(text)} is no host with a port`;
  const [, bracketed, bare = "", digits] = match;
  const port = digits === undefined ? undefined : parsePort(digits);
  if (digits !== undefined && port === undefined) return `${shown(text)} has no port behind its colon`;
  const host = parseNamedHost(bracketed ?? bare);
  return typeof host === "string" ? host : { host, port };
}

export function sameHost(one: NamedHost, other: NamedHost): boolean {
  return hostText(one) === hostText(other);
}

/** A name is never the text of an address, so that these are one for one host only. */
export function hostText(host: NamedHost): string {
  return host.kind === "name" ? host.name : host.address.text;
}
