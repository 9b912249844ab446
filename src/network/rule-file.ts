import { LIMITS } from "../protocol/index.js";
import { isProblem, shown } from "./problem.js";
import { parseRule, type Rule } from "./rules.js";
import { parseAllowRule } from "./useful-rule.js";

/** What is wrong at one place of what the user wrote. */
export interface PolicyProblem {
  /** `--network-allow "…"`, or `FILE line 3`. */
  readonly where: string;
  readonly problem: string;
  readonly hint: string;
}

export interface RuleLists {
  readonly allow: Rule[];
  readonly deny: Rule[];
}

/**
 * A file of rules: one a line, `allow RULE` or `deny RULE`; `#` begins a remark; empty lines are fine. All that is wrong is
 * added to `problems`, by line; what could be read is returned.
 */
export function parseRuleFile(name: string, text: string, problems: PolicyProblem[]): RuleLists {
  const lists: RuleLists = { allow: [], deny: [] };
  const bytes = Buffer.byteLength(text);
  if (bytes > LIMITS.networkFileBytes) {
    const problem = `it has ${bytes} bytes, more than ${LIMITS.networkFileBytes}`;
    problems.push({ where: name, problem, hint: "name fewer hosts, or write *.example.org for many" });
    return lists;
  }
  for (const [index, raw] of text
    .replace(/^\ufeff/, "")
    .split("\n")
    .entries()) {
    const line = raw.replace(/(?:^|[ \t])#.*$/s, "").replaceAll(/^[ \t]+|[ \t\r]+$/g, "");
    if (line === "") continue;
    const [list, rule, ...more] = line.split(/[ \t]+/);
    const where = `${name} line ${index + 1}`;
    if ((list !== "allow" && list !== "deny") || rule === undefined || more.length > 0) {
      const hint = "write `allow example.org:443` or `deny *.example.org`, one rule a line";
      problems.push({ where, problem: `${shown(line)} is no rule`, hint });
      continue;
    }
    const parsed = list === "allow" ? parseAllowRule(rule) : parseRule(rule);
    if (isProblem(parsed)) problems.push({ where, ...parsed, problem: `${shown(rule)}: ${parsed.problem}` });
    else lists[list].push(parsed);
  }
  return lists;
}
