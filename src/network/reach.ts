import { embeddedIpv4, parseAddress, type IpAddress } from "./address.js";
import { cidrContains } from "./cidr.js";
import type { HostNetwork } from "./host-network.js";
import { matchesAddress, matchesPort, namesExactly, type CidrRule } from "./rules.js";
import { specialBlockOf } from "./special-purpose.js";
import { refused, userFlag, type Refusal } from "./verdict.js";

/** The host as the guest sees it: for ports that the user opened the gateway dials 127.0.0.1 instead. */
export const HOST_ALIAS = { name: "host.pyro.internal", address: known("10.0.2.2") } as const;

/** The machine itself and its resolver: the agent answers there, nothing of the host's network does. */
const MACHINE: readonly IpAddress[] = ["10.0.2.3", "10.0.2.15"].map(known);

/** Where clouds answer with credentials: to whoever asks, so to a machine never unless the very address was opened. */
const METADATA: readonly IpAddress[] = [
  // AWS, Google, Azure, OpenStack and others; AWS's tasks (ECS) and pods (EKS); Tencent.
  "169.254.169.254",
  "169.254.170.2",
  "169.254.170.23",
  "169.254.0.23",
  // AWS over IPv6, its pods, Google over IPv6.
  "fd00:ec2::254",
  "fd00:ec2::23",
  "fd20:ce::254",
  // Alibaba, Oracle; Azure's, which is a public address.
  "100.100.100.200",
  "192.0.0.192",
  "168.63.129.16",
].map(known);

const METADATA_NAMES: ReadonlySet<string> = new Set([
  "metadata.google.internal",
  "metadata.goog",
  "metadata.azure.internal",
  "metadata.tencentyun.com",
  "instance-data",
  "instance-data.ec2.internal",
]);

const HOST_PORT = `the host's own services have one door: ${userFlag("--allow-host-port PORT")}; then it is ${HOST_ALIAS.name}:PORT`;

export function isMetadataName(name: string): boolean {
  return METADATA_NAMES.has(name);
}

/** Whether a rule names one metadata address exactly. */
export function opensMetadata(rules: readonly CidrRule[]): boolean {
  return rules.some((rule) => METADATA.some((address) => namesExactly(rule, address)));
}

/** Whether a rule of `--allow-cidr` covers the place. */
export function isOpened(rules: readonly CidrRule[], address: IpAddress, port: number): boolean {
  return rules.some((rule) => matchesAddress(rule, address) && matchesPort(rule, port));
}

/**
 * What keeps an address out of reach whatever the lists say: it is the host, its LAN, a cloud's metadata, or not on the
 * public internet. Every IPv4 address that it carries is asked too. `opened` are the rules of `--allow-cidr`.
 * @param port undefined: at whichever, where none is open
 */
export function outOfReach(
  address: IpAddress,
  port: number | undefined,
  opened: readonly CidrRule[],
  host: HostNetwork,
  subject: string = addressAndPort(address, port),
): Refusal | undefined {
  const all = [address, ...embeddedIpv4(address)];
  const has = (list: readonly IpAddress[]): boolean =>
    all.some((one) => list.some((other) => other.text === one.text));

  if (has(MACHINE)) return refused(subject, "it is the machine's own address", "nothing can allow it");
  const special = all.map(specialBlockOf).find((block) => block?.closed === true);
  if (special !== undefined) {
    const why = `${special.what} (${special.cidr.text}, ${special.source}) is never reached`;
    return refused(subject, why, HOST_PORT);
  }
  if (has(host.addresses)) return refused(subject, "it is an address of the host itself", HOST_PORT);
  const flag = userFlag(`--allow-cidr ${addressAndPort(address, port)}`);
  if (has(METADATA)) {
    const exactly =
      port !== undefined && opened.some((rule) => namesExactly(rule, address) && matchesPort(rule, port));
    return exactly ? undefined : refused(subject, "it answers with a cloud's credentials", flag);
  }
  if (port !== undefined && isOpened(opened, address, port)) return undefined;
  const block = specialBlockOf(address);
  if (block !== undefined) {
    return refused(subject, `${block.cidr.text} is ${block.what} (${block.source})`, flag);
  }
  const link = host.links.find((cidr) => all.some((one) => cidrContains(cidr, one)));
  return link === undefined ? undefined : refused(subject, `${link.text} is the host's own network`, flag);
}

export function addressAndPort(address: IpAddress, port: number | undefined): string {
  if (port === undefined) return address.text;
  return address.family === 6 ? `[${address.text}]:${port}` : `${address.text}:${port}`;
}

function known(text: string): IpAddress {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`no address: ${text}`);
  return address;
}
