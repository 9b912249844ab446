import { embeddedIpv4, sameAddress, type IpAddress } from "./address.js";
import { readHostNetwork, type HostNetwork } from "./host-network.js";
import { isBelow, isCanonicalName, parseName } from "./names.js";
import { isProblem, shown } from "./problem.js";
import { addressAndPort, HOST_ALIAS, isMetadataName, isOpened, opensMetadata, outOfReach } from "./reach.js";
import { ANY_RULE, matchesAddress, matchesName, matchesPort, type CidrRule, type Rule } from "./rules.js";
import { ALLOWED, refused, userFlag, type Refusal, type Verdict } from "./verdict.js";

export const NETWORK_MODES = ["off", "egress", "egress+published-ports"] as const;

export type NetworkMode = (typeof NETWORK_MODES)[number];

/** What a machine may reach: made by policyFromFlags or policyFromText, never changed. */
export interface NetworkPolicy {
  readonly mode: NetworkMode;
  /** What is not in it is refused; an empty one allows nothing. A policy without lists has the one rule `*`. */
  readonly allow: readonly Rule[];
  /** Always wins. */
  readonly deny: readonly Rule[];
  /** Allowed too, and the only door to what is not on the public internet. */
  readonly allowCidrs: readonly CidrRule[];
  /** Ports on the host's loopback, which the machine reaches as host.pyro.internal. */
  readonly allowHostPorts: readonly number[];
}

/** What a workspace has whose user said nothing, and one whose policy cannot be read. */
export const NO_NETWORK: NetworkPolicy = {
  mode: "off",
  allow: [],
  deny: [],
  allowCidrs: [],
  allowHostPorts: [],
};

/** Egress without lists: all of the public internet. */
export const PLAIN_EGRESS: NetworkPolicy = { ...NO_NETWORK, mode: "egress", allow: [ANY_RULE] };

/** A place that a program of the guest wants to connect to. */
export interface Target {
  readonly address: IpAddress;
  readonly port: number;
  /** Canonical names that led to the address, as the gateway remembers them; none where the program wrote the address. */
  readonly names: readonly string[];
}

/** May the name be looked up at all? Its addresses are judged again, each by itself, before one is told or dialled. */
export function judgeName(policy: NetworkPolicy, name: string): Verdict {
  const parsed = parseName(name);
  if (isProblem(parsed)) return refused(`the name ${shown(name)}`, parsed.problem, parsed.hint);
  return judge(policy, { names: [parsed.name], address: undefined, port: undefined }, NO_HOST);
}

/**
 * May it be connected to? Asked for the very value that is then dialled.
 * @param host what is the host's own; read from its interfaces where it is not given
 */
export function judgeAddress(policy: NetworkPolicy, target: Target, host?: HostNetwork): Verdict {
  const { address, port, names } = target;
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    return refused(address.text, `${port} is no port`, "ports are 1 to 65535");
  }
  const odd = names.find((name) => !isCanonicalName(name));
  if (odd !== undefined)
    return refused(addressAndPort(address, port), `${shown(odd)} is no name`, "look it up again");
  return judge(policy, target, host ?? readHostNetwork());
}

/** May a proxy be asked for this place? As above, with the port that is known then; `name` is canonical. */
export function judgeNameAt(policy: NetworkPolicy, name: string, port: number): Verdict {
  return judge(policy, { names: [name], address: undefined, port }, NO_HOST);
}

/** Does any deny rule speak against the name? For one that is said on a connection to an address that is allowed. */
export function judgeDenied(policy: NetworkPolicy, name: string, port: number): Verdict {
  return refuseDenied(policy, { names: [name], address: undefined, port }) ?? ALLOWED;
}

/** A name with or without a port, or an address with one. */
interface Question {
  readonly names: readonly string[];
  readonly address: IpAddress | undefined;
  readonly port: number | undefined;
}

const NO_HOST: HostNetwork = { addresses: [], links: [] };

/** The one decision behind every path: the first of these that has something to say. */
function judge(policy: NetworkPolicy, question: Question, host: HostNetwork): Verdict {
  return (
    refuseWithoutEgress(policy, question) ??
    refuseDenied(policy, question) ??
    judgeHostAlias(policy, question) ??
    refuseSpecialNames(policy, question) ??
    refuseOutOfReach(policy, question, host) ??
    refuseUnlisted(policy, question) ??
    ALLOWED
  );
}

function refuseWithoutEgress(policy: NetworkPolicy, question: Question): Refusal | undefined {
  switch (policy.mode) {
    case "egress":
    case "egress+published-ports":
      return undefined;
    case "off":
    default:
      // Whatever else a record might hold is no permission.
      return refused(subjectOf(question), "the machine has no network", userFlag("--network-policy egress"));
  }
}

/** A deny rule that fits any name that led here, the address, or an IPv4 address in it. */
function refuseDenied(policy: NetworkPolicy, question: Question): Refusal | undefined {
  const { address, port } = question;
  const addresses = address === undefined ? [] : [address, ...embeddedIpv4(address)];
  const names = isHostAlias(question) ? [...question.names, HOST_ALIAS.name] : question.names;
  const rule = policy.deny.find(
    (rule) =>
      (port === undefined ? rule.ports === undefined : matchesPort(rule, port)) &&
      (names.some((name) => matchesName(rule, name)) || addresses.some((one) => matchesAddress(rule, one))),
  );
  if (rule === undefined) return undefined;
  const hint = "only the user can change that: `pyro workspace network set ID` without this rule";
  return refused(subjectOf(question), `the user's rule \`deny ${rule.text}\` says so`, hint);
}

/** The host's loopback, by its name or address in the machine: the user's list of ports alone decides. */
function judgeHostAlias(policy: NetworkPolicy, question: Question): Verdict | undefined {
  if (!isHostAlias(question)) return undefined;
  const { port } = question;
  const open = port === undefined ? policy.allowHostPorts.length > 0 : policy.allowHostPorts.includes(port);
  if (open) return ALLOWED;
  const which = port === undefined ? "no port of the host is open" : `port ${port} of the host is not open`;
  return refused(subjectOf(question), which, userFlag(`--allow-host-port ${port ?? "PORT"}`));
}

/** Whether it is about the host; a name counts only while no address is known. */
function isHostAlias({ names, address }: Question): boolean {
  return address === undefined ? names.includes(HOST_ALIAS.name) : sameAddress(address, HOST_ALIAS.address);
}

/** Names that stand for something else than a place on the internet, whatever a resolver says. */
function refuseSpecialNames(policy: NetworkPolicy, question: Question): Refusal | undefined {
  const subject = subjectOf(question);
  for (const name of question.names) {
    if (name === "localhost" || isBelow(name, "localhost") || isBelow(name, "pyro.internal")) {
      const hint = `for a service of the host: ${userFlag("--allow-host-port PORT")}, as ${HOST_ALIAS.name}:PORT`;
      return refused(subject, `${name} is not a name of the internet`, hint);
    }
    if (isMetadataName(name) && !opensMetadata(policy.allowCidrs)) {
      return refused(
        subject,
        "it answers with a cloud's credentials",
        userFlag("--allow-cidr 169.254.169.254"),
      );
    }
    const isNamed = policy.allow.some(({ host }) => host.kind === "name" && host.name === name);
    if (!name.includes(".") && !isNamed) {
      const hint = `write the name in full; or, ${userFlag(`--network-allow ${name}`)}`;
      return refused(subject, "a name without a dot means something else in each network", hint);
    }
  }
  return undefined;
}

function refuseOutOfReach(policy: NetworkPolicy, question: Question, host: HostNetwork): Refusal | undefined {
  const { address, port } = question;
  if (address === undefined || port === undefined) return undefined;
  return outOfReach(address, port, policy.allowCidrs, host);
}

function refuseUnlisted(policy: NetworkPolicy, question: Question): Refusal | undefined {
  const { names, address, port } = question;
  const listed = policy.allow.some(
    (rule) =>
      (port === undefined || matchesPort(rule, port)) &&
      (names.some((name) => matchesName(rule, name)) ||
        (address !== undefined && matchesAddress(rule, address))),
  );
  if (listed) return undefined;
  if (address !== undefined && port !== undefined && isOpened(policy.allowCidrs, address, port))
    return undefined;
  const why = policy.allow.length === 0 ? "the list of what is allowed is empty" : "no rule allows it";
  const rule =
    names[0] === undefined ? subjectOf(question) : `${names[0]}${port === undefined ? "" : `:${port}`}`;
  return refused(subjectOf(question), why, userFlag(`--network-allow ${rule}`));
}

/** Canonical names, addresses and numbers only: nothing of the guest's own wording. */
function subjectOf({ names, address, port }: Question): string {
  const place = address === undefined || port === undefined ? undefined : addressAndPort(address, port);
  const some = names.length > 3 ? [...names.slice(0, 3), "…"] : names;
  if (place === undefined) return some.join(", ");
  return names.length === 0 ? place : `${place} (${some.join(", ")})`;
}
