import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  GetNetworkResponse,
  NetworkEntry as WireEntry,
  PublishedPort as WirePort,
} from "../protocol/gen/pyro/daemon/v1/network_pb.js";
import type { NetworkRulesSchema } from "../protocol/gen/pyro/daemon/v1/network_rules_pb.js";

export type NetworkMode = "off" | "egress" | "egress+published-ports";

/** What a machine may reach. Rules are names, `*.` names, addresses or blocks, with `:PORT` or without. */
export interface NetworkOptions {
  /** Default "off", and "egress" where there are rules. */
  readonly policy?: NetworkMode | undefined;
  /** Given, even empty: nothing else is allowed. Left out: all of the public internet. */
  readonly allow?: readonly string[] | undefined;
  /** Always wins. */
  readonly deny?: readonly string[] | undefined;
  /** A file of rules, `allow RULE` or `deny RULE` a line; its name is for errors. */
  readonly file?: { readonly name: string; readonly text: string } | undefined;
  /** Addresses that are not public and may be reached all the same. */
  readonly allowCidrs?: readonly string[] | undefined;
  /** Ports on this host's loopback, reached as host.pyro.internal. */
  readonly allowHostPorts?: readonly (string | number)[] | undefined;
}

/** The policy that holds; each rule in its canonical text. */
export interface NetworkPolicy {
  readonly mode: NetworkMode;
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly allowCidrs: readonly string[];
  readonly allowHostPorts: readonly number[];
}

/** A connection that was made or refused, a name that was not resolved, or a connection of the host to a published port. */
export interface NetworkEntry {
  /** Counts from 1, over the workspace's whole life. */
  readonly sequence: number;
  /** ISO 8601 */
  readonly at: string;
  readonly kind: "connection" | "name" | "published";
  /** "open": it goes on. "failed": the policy allowed it, and it did not come about. */
  readonly decision: "open" | "allowed" | "refused" | "failed";
  readonly name: string | null;
  readonly address: string | null;
  readonly port: number | null;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly reason: string | null;
  readonly hint: string | null;
  /** The command, service or shell that opened it, where that is known. */
  readonly openedBy: string | null;
  readonly durationMs: number | null;
  /** How it ended. */
  readonly end: string | null;
  /** How often the same was refused one after the other. */
  readonly times: number;
}

export interface WorkspaceNetwork {
  readonly workspaceId: string;
  readonly policy: NetworkPolicy;
  /** Exact over the workspace's whole life, whatever entries are kept. */
  readonly totals: {
    readonly connections: number;
    /** Of the host to published ports; their bytes are not in the sums. */
    readonly published: number;
    readonly refused: number;
    readonly failed: number;
    readonly bytesUp: number;
    readonly bytesDown: number;
  };
  /** The newest, the oldest of them first. */
  readonly entries: readonly NetworkEntry[];
}

/** A port of a service that lives, on this host's loopback. */
export interface PublishedPort {
  readonly host: string;
  readonly hostPort: number;
  readonly guestPort: number;
  readonly protocol: "tcp";
  /** "reserved": nobody gets in until the service is ready. */
  readonly state: "open" | "reserved" | "closed";
  /** Why it is closed. */
  readonly reason: string | null;
}

/** A port of a service that the host is to reach. */
export interface PortToPublish {
  readonly guestPort: number;
  /** Of 127.0.0.1, from 1024 on; left out, the system chooses. */
  readonly hostPort?: number | undefined;
}

export interface WorkspacePorts {
  readonly workspaceId: string;
  readonly ports: readonly (PublishedPort & { readonly serviceName: string })[];
}

/** What was given, as the daemon reads it. */
export function toNetworkRules(options: NetworkOptions): MessageInitShape<typeof NetworkRulesSchema> {
  const { policy, allow, deny, file, allowCidrs, allowHostPorts } = options;
  const list = (name: string, rules: readonly (string | number)[] | undefined) =>
    rules === undefined ? {} : { [name]: { rules: rules.map(String) } };
  return {
    mode: policy ?? "",
    ...list("allow", allow),
    ...list("deny", deny),
    ...(file === undefined ? {} : { file }),
    ...list("allowCidrs", allowCidrs),
    ...list("allowHostPorts", allowHostPorts),
  };
}

/** The same where true means all of the public internet, and nothing or false no network. */
export function networkRulesOf(network: boolean | NetworkOptions | undefined): {
  network?: MessageInitShape<typeof NetworkRulesSchema>;
} {
  if (network === undefined || network === false) return {};
  return { network: toNetworkRules(network === true ? { policy: "egress" } : network) };
}

export function toPublishedPort({ host, hostPort, guestPort, state, reason }: WirePort): PublishedPort {
  return {
    ...{ host, hostPort, guestPort, protocol: "tcp" },
    state: state as PublishedPort["state"],
    reason: reason === "" ? null : reason,
  };
}

/** The network as the daemon sent it. */
export function toNetwork({ workspaceId, policy, totals, entries }: GetNetworkResponse): WorkspaceNetwork {
  return {
    workspaceId,
    policy: {
      mode: (policy?.mode ?? "off") as NetworkMode,
      allow: policy?.allow ?? [],
      deny: policy?.deny ?? [],
      allowCidrs: policy?.allowCidrs ?? [],
      allowHostPorts: policy?.allowHostPorts ?? [],
    },
    totals: {
      connections: Number(totals?.connections ?? 0),
      published: Number(totals?.published ?? 0),
      refused: Number(totals?.refused ?? 0),
      failed: Number(totals?.failed ?? 0),
      bytesUp: Number(totals?.bytesUp ?? 0),
      bytesDown: Number(totals?.bytesDown ?? 0),
    },
    entries: entries.map(toNetworkEntry),
  };
}

export function toNetworkEntry(wire: WireEntry): NetworkEntry {
  const orNull = (text: string): string | null => (text === "" ? null : text);
  return {
    sequence: Number(wire.sequence),
    at: new Date(Number(wire.atMs)).toISOString(),
    kind: wire.kind as NetworkEntry["kind"],
    decision: wire.decision as NetworkEntry["decision"],
    name: orNull(wire.name),
    address: orNull(wire.address),
    port: wire.port === 0 ? null : wire.port,
    bytesUp: Number(wire.bytesUp),
    bytesDown: Number(wire.bytesDown),
    reason: orNull(wire.reason),
    hint: orNull(wire.hint),
    openedBy: orNull(wire.openedBy),
    durationMs: wire.decision === "open" || wire.kind === "name" ? null : Number(wire.durationMs),
    end: orNull(wire.end),
    times: wire.times || 1,
  };
}
