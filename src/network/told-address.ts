import { sameAddress, type IpAddress } from "./address.js";
import { readHostNetwork } from "./host-network.js";
import { judgeAddress, type NetworkPolicy } from "./policy.js";
import { HOST_ALIAS, outOfReach } from "./reach.js";
import { matchesAddress, matchesName } from "./rules.js";
import { refused, type Refusal, type Verdict } from "./verdict.js";

/** Asked first where no rule names ports. */
const USUAL_PORTS = [443, 80];
/** Many rules about one place are no use to anybody. */
const PORTS_MAX = 64;

/**
 * May a guest be told that a name has this address? When a connection to it would be allowed at some port: those that rules
 * name are tried too. What is dialled is judged again, with its own port.
 */
export function judgeTold(policy: NetworkPolicy, address: IpAddress, name: string): Verdict {
  // Only its own name leads to the host, whatever some resolver says.
  if (sameAddress(address, HOST_ALIAS.address)) {
    return refused(`${address.text} (${name})`, "it stands for the host", `use ${HOST_ALIAS.name}`);
  }
  const about = [...policy.allow, ...policy.allowCidrs, ...policy.deny].filter(
    (rule) => matchesName(rule, name) || matchesAddress(rule, address),
  );
  const ranges = about.flatMap(({ ports }) => ports ?? []);
  const edges = ranges.flatMap(({ from, to }) => [from, to, from - 1, to + 1]);
  const ports = new Set([...USUAL_PORTS, ...edges.filter((port) => port >= 1 && port <= 65_535)]);
  const host = readHostNetwork();
  let first: Refusal | undefined;
  for (const port of [...ports].slice(0, PORTS_MAX)) {
    const verdict = judgeAddress(policy, { address, port, names: [name] }, host);
    if (verdict.allowed) return verdict;
    first ??= verdict;
  }
  if (first === undefined) return refused(address.text, "no port of it is allowed", "");
  // Which port is asked for is not known yet: what opened one that was tried might be refused at the next.
  const [tried] = USUAL_PORTS;
  if (first.reason !== outOfReach(address, tried, policy.allowCidrs, host)?.reason) return first;
  return outOfReach(address, undefined, policy.allowCidrs, host, `${address.text} (${name})`) ?? first;
}
