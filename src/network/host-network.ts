import { networkInterfaces } from "node:os";
import { parseAddress, type IpAddress } from "./address.js";
import { cidrOf, type Cidr } from "./cidr.js";

/** What of the address space is the host's own, public or not. */
export interface HostNetwork {
  /** Of its interfaces: whoever dials one of them reaches the host itself. */
  readonly addresses: readonly IpAddress[];
  /** The networks that its interfaces are on, its LAN: with IPv6 they have public addresses. */
  readonly links: readonly Cidr[];
}

/** As it is now: hosts move between networks, so it is read anew for each decision (0.1 ms). */
export function readHostNetwork(): HostNetwork {
  const addresses: IpAddress[] = [];
  const links: Cidr[] = [];
  for (const entry of Object.values(networkInterfaces()).flatMap((entries) => entries ?? [])) {
    const address = parseAddress(entry.address);
    if (address === undefined) continue;
    addresses.push(address);
    const prefix = Number(entry.cidr?.split("/")[1] ?? Number.NaN);
    // A link without a length is all of the internet, a tunnel's: it says nothing of a LAN.
    if (prefix > 0) links.push(cidrOf(address, prefix));
  }
  return { addresses, links };
}
