/**
 * What a machine may reach, and how that is decided.
 *
 * - One function judges every path: names to look up, addresses to dial, names within a connection.
 * - What is judged is what is dialled: addresses and names have one spelling (`parseAddress`, `parseName`), and whatever
 *   has none is refused.
 * - Refusing is the default: an empty list, an unreadable policy, an address that no table calls public. Deny rules win.
 * - The host itself, its LAN, private and metadata addresses are out of reach of every list; `--allow-cidr` and
 *   `--allow-host-port` are the only doors, and only a user opens them.
 */
export { parseAddress, type IpAddress } from "./address.js";
export { judgeFirstBytes, type FirstBytesOptions, type FirstBytesVerdict, type Seen } from "./first-bytes.js";
export { readHostNetwork, type HostNetwork } from "./host-network.js";
export { parseName, resolvableName } from "./names.js";
export {
  judgeAddress,
  judgeName,
  NETWORK_MODES,
  NO_NETWORK,
  PLAIN_EGRESS,
  type NetworkMode,
  type NetworkPolicy,
  type Target,
} from "./policy.js";
export {
  policyFromFlags,
  policyFromText,
  policyToText,
  policyWithFlags,
  type PolicyFlags,
  type PolicyText,
} from "./policy-text.js";
export { isProblem, type Problem } from "./problem.js";
export { HOST_ALIAS } from "./reach.js";
export type { Refusal, Verdict } from "./verdict.js";
export { Gateway, type GatewayOptions, type NameAnswer } from "./gateway.js";
export type { GuestPipe, IncomingPipe, RefusedBecause, WantedTarget } from "./pipe.js";
export { type LookAtFirstBytes } from "./first-look.js";
export { SharedLookUp, type LookUp } from "./resolver.js";
export type { NetworkEntry, NetworkTotals } from "./entry.js";
export { NetworkRecord, type LastRefusal } from "./record.js";
export { RecordFile } from "./record-file.js";
export { dialDirectly, type Dial } from "./dial.js";
export { dialByProxy, type ProxySettings } from "./http-proxy.js";
export { PublishedPort, type DialledPipe, type PublishOptions } from "./published.js";
