import { isProblem, type Problem } from "./problem.js";
import { parseCidrRule, parseRule, type CidrRule, type Rule } from "./rules.js";
import { specialBlockAround } from "./special-purpose.js";

/** A rule for an allow list. One that could never allow anything is a mistake that is better told than found out. */
export function parseAllowRule(text: string): Rule | Problem {
  const rule = parseRule(text);
  if (isProblem(rule) || rule.host.kind !== "addresses") return rule;
  const special = specialBlockAround(rule.host.cidr);
  if (special === undefined) return rule;
  const own = `give --allow-cidr ${rule.text} for a network of your own`;
  const host = "give --allow-host-port PORT for the host itself";
  return {
    problem: `${special.cidr.text} is ${special.what} (${special.source}), which allow lists never open`,
    hint: special.closed ? host : `${own}, or ${host}`,
  };
}

/** A rule for `--allow-cidr`, which never opens the host itself. */
export function parseOpenedRule(text: string): CidrRule | Problem {
  const rule = parseCidrRule(text);
  if (isProblem(rule)) return rule;
  const special = specialBlockAround(rule.host.cidr);
  if (special?.closed !== true) return rule;
  return {
    problem: `${special.cidr.text} is ${special.what} (${special.source}), which is never opened`,
    hint: "give --allow-host-port PORT: the machine reaches that port of the host as host.pyro.internal",
  };
}
