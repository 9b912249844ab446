import { LIMITS, PyroError } from "../protocol/index.js";
import { NETWORK_MODES, NO_NETWORK, type NetworkMode, type NetworkPolicy } from "./policy.js";
import { isProblem, shown, type Problem } from "./problem.js";
import { parseRuleFile, type PolicyProblem } from "./rule-file.js";
import { ANY_RULE, parseCidrRule, parsePort, parseRule, type Rule } from "./rules.js";
import { parseAllowRule, parseOpenedRule } from "./useful-rule.js";

/** What a user says of a network, each text as it was typed. */
export interface PolicyFlags {
  /** `--network-policy`; with rules and without it, egress. */
  readonly mode?: string | undefined;
  /** `--network-allow`. Given and empty: nothing is allowed. Not given, and no file either: all of the internet. */
  readonly allow?: readonly string[] | undefined;
  /** `--network-deny`. */
  readonly deny?: readonly string[] | undefined;
  /** `--network-file`, as its reader found it: it is an allow list, also when it has no `allow` line. */
  readonly file?: { readonly name: string; readonly text: string } | undefined;
  /** `--allow-cidr`. */
  readonly allowCidrs?: readonly string[] | undefined;
  /** `--allow-host-port`. */
  readonly allowHostPorts?: readonly (string | number)[] | undefined;
}

/** A policy as plain JSON, for the record of a workspace and for status; each rule in its canonical text. */
export interface PolicyText {
  readonly mode: NetworkMode;
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly allowCidrs: readonly string[];
  readonly allowHostPorts: readonly number[];
}

/**
 * The policy of what a user typed.
 * @throws {PyroError} INVALID_NETWORK_POLICY with all that is wrong, each by its flag or line
 */
export function policyFromFlags(flags: PolicyFlags): NetworkPolicy {
  const problems: PolicyProblem[] = [];
  const given = [flags.allow, flags.deny, flags.allowCidrs, flags.allowHostPorts];
  const hasRules = flags.file !== undefined || given.some((list) => list !== undefined);
  const mode = readMode("--network-policy", flags.mode ?? (hasRules ? "egress" : "off"), problems);
  const some = flags.file !== undefined || given.some((list) => list !== undefined && list.length > 0);
  if (flags.mode === "off" && some) {
    const hint = "give --network-policy egress, or no rules";
    problems.push({ where: "--network-policy off", problem: "rules are given for no network", hint });
  }
  const file = flags.file && parseRuleFile(shown(flags.file.name), flags.file.text, problems);
  const allow = [
    ...readRules("--network-allow", flags.allow, parseAllowRule, problems),
    ...(file?.allow ?? []),
  ];
  const policy = {
    mode,
    // Without any list all of the internet is meant; an empty list says that nothing is.
    allow: mode !== "off" && flags.allow === undefined && file === undefined ? [ANY_RULE] : allow,
    deny: [...readRules("--network-deny", flags.deny, parseRule, problems), ...(file?.deny ?? [])],
    allowCidrs: readRules("--allow-cidr", flags.allowCidrs, parseOpenedRule, problems),
    allowHostPorts: readPorts("--allow-host-port", flags.allowHostPorts, problems),
  };
  return checked(policy, problems);
}

/**
 * The policy that holds, and on top of it what a user typed. Where all of the internet is allowed already, a list of what
 * is allowed changes nothing; a mode replaces the mode.
 * @throws {PyroError} INVALID_NETWORK_POLICY with all that is wrong, each by its flag or line
 */
export function policyWithFlags(current: PolicyText, flags: PolicyFlags): NetworkPolicy {
  const added = policyFromFlags(flags);
  if (current.mode === "off" || flags.mode === "off") return added;
  const more = policyToText(added);
  const both = <T>(one: readonly T[], other: readonly T[]): T[] => [...new Set([...one, ...other])];
  const hasList = flags.allow !== undefined || flags.file !== undefined;
  return policyFromText({
    mode: flags.mode ?? current.mode,
    allow: hasList ? both(current.allow, more.allow) : current.allow,
    deny: both(current.deny, more.deny),
    allowCidrs: both(current.allowCidrs, more.allowCidrs),
    allowHostPorts: both(current.allowHostPorts, more.allowHostPorts),
  });
}

/** A policy as it is kept and shown. */
export function policyToText(policy: NetworkPolicy): PolicyText {
  const texts = (rules: readonly Rule[]): string[] => rules.map((rule) => rule.text);
  return {
    mode: policy.mode,
    allow: texts(policy.allow),
    deny: texts(policy.deny),
    allowCidrs: texts(policy.allowCidrs),
    allowHostPorts: [...policy.allowHostPorts],
  };
}

/**
 * A policy from what policyToText made. Whoever catches the error goes on with NO_NETWORK.
 * @throws {PyroError} INVALID_NETWORK_POLICY: a missing list is as wrong as a bad rule
 */
export function policyFromText(text: unknown): NetworkPolicy {
  const problems: PolicyProblem[] = [];
  const fields = typeof text === "object" && text !== null ? (text as Record<string, unknown>) : {};
  const policy = {
    mode: readMode("mode", fields["mode"], problems),
    allow: readRules("allow", listOf("allow", fields, problems), parseRule, problems),
    deny: readRules("deny", listOf("deny", fields, problems), parseRule, problems),
    allowCidrs: readRules("allowCidrs", listOf("allowCidrs", fields, problems), parseCidrRule, problems),
    allowHostPorts: readPorts("allowHostPorts", listOf("allowHostPorts", fields, problems), problems),
  };
  return checked(policy, problems);
}

function checked(policy: NetworkPolicy, problems: PolicyProblem[]): NetworkPolicy {
  const count = policy.allow.length + policy.deny.length + policy.allowCidrs.length;
  if (count > LIMITS.networkRules) {
    const problem = `${count} rules, more than ${LIMITS.networkRules}`;
    problems.push({ where: "all lists together", problem, hint: "write *.example.org for many hosts" });
  }
  if (problems.length > 0) throw invalid(problems);
  return policy.mode === "off" ? NO_NETWORK : policy;
}

function invalid(problems: readonly PolicyProblem[]): PyroError {
  const told = problems.slice(0, LIMITS.networkProblems);
  const list = told.map(({ where, problem }) => `${where}: ${problem}`).join("; ");
  const more = problems.length > told.length ? `; and ${problems.length - told.length} more` : "";
  const count = problems.length === 1 ? "a problem" : `${problems.length} problems`;
  const hints = [...new Set(told.map(({ hint }) => hint))].slice(0, 3);
  return new PyroError("INVALID_NETWORK_POLICY", `the network policy has ${count}: ${list}${more}`, {
    hint: hints.join("; "),
    details: { problems: told.map((problem) => ({ ...problem })), problem_count: problems.length },
  });
}

function readMode(where: string, value: unknown, problems: PolicyProblem[]): NetworkMode {
  const mode = NETWORK_MODES.find((known) => known === value);
  if (mode !== undefined) return mode;
  const seen = typeof value === "string" ? shown(value) : "that";
  problems.push({ where, problem: `${seen} is no mode`, hint: `modes are ${NETWORK_MODES.join(", ")}` });
  return "off";
}

function readRules<R extends Rule>(
  where: string,
  texts: readonly unknown[] | undefined,
  parse: (text: string) => R | Problem,
  problems: PolicyProblem[],
): R[] {
  const rules: R[] = [];
  for (const text of (texts ?? []).slice(0, LIMITS.networkRules + 1)) {
    const rule = typeof text === "string" ? parse(text) : { problem: "no text", hint: "rules are texts" };
    if (!isProblem(rule)) rules.push(rule);
    else problems.push({ where: typeof text === "string" ? `${where} ${shown(text)}` : where, ...rule });
  }
  return rules;
}

function readPorts(
  where: string,
  values: readonly unknown[] | undefined,
  problems: PolicyProblem[],
): number[] {
  const list = values ?? [];
  if (list.length > LIMITS.networkHostPorts) {
    const problem = `${list.length} ports, more than ${LIMITS.networkHostPorts}`;
    problems.push({ where, problem, hint: "open fewer ports of the host" });
  }
  const ports = new Set<number>();
  for (const value of list.slice(0, LIMITS.networkHostPorts)) {
    const text = typeof value === "number" ? String(value) : typeof value === "string" ? value : "";
    const port = parsePort(text);
    if (port !== undefined) ports.add(port);
    else
      problems.push({
        where: `${where} ${shown(text)}`,
        problem: "that is no port",
        hint: "ports are 1 to 65535",
      });
  }
  return [...ports].sort((one, other) => one - other);
}

function listOf(name: string, fields: Record<string, unknown>, problems: PolicyProblem[]): unknown[] {
  const list = fields[name];
  if (Array.isArray(list)) return list as unknown[];
  problems.push({
    where: name,
    problem: "that is no list",
    hint: "set the policy again: `pyro workspace network set ID`",
  });
  return [];
}
