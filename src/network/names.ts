import { parseAddress } from "./address.js";
import { shown, type Problem } from "./problem.js";

/** A host's name in its only spelling here: lower case, without the root's dot. Made by `parseName` alone. */
export interface HostName {
  readonly name: string;
}

/** RFC 1035 section 2.3.4, in octets; the whole name without the root's dot. */
const LABEL_MAX = 63;
const NAME_MAX = 253;

/**
 * The strict grammar of host names: letters, digits and hyphens in labels (RFC 952, RFC 1123 section 2.1), a last label that
 * is no number, so that nothing takes the name for an address (RFC 3696 section 2, WHATWG URL's "ends in a number").
 * What it returns is what is judged, resolved and compared; whatever else a resolver or a C string might make of the
 * text (a NUL, a percent sign, user information, other scripts) is refused before.
 */
export function parseName(text: string): HostName | Problem {
  const problem = problemOf(text);
  if (problem !== undefined) return problem;
  return { name: text.toLowerCase().replace(/\.$/, "") };
}

/** Whether it is a name in its canonical spelling. */
export function isCanonicalName(name: string): boolean {
  return !name.endsWith(".") && name === name.toLowerCase() && problemOf(name) === undefined;
}

/**
 * What to give a resolver for a judged name: with the root's dot no search domain of the host is tried, so that no other
 * name is looked up than the one that was judged.
 */
export function resolvableName(name: string): string {
  return `${name}.`;
}

const EXAMPLE = "write a host's name such as example.org";

function problemOf(text: string): Problem | undefined {
  if (text === "") return { problem: "the name is empty", hint: EXAMPLE };
  const odd = /[^A-Za-z0-9.-]/u.exec(text)?.[0];
  if (odd !== undefined) return oddCharacter(odd);
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name.length > NAME_MAX) {
    return { problem: `the name has ${name.length} characters, more than ${NAME_MAX}`, hint: EXAMPLE };
  }
  if (parseAddress(name) !== undefined) {
    return { problem: "that is an address, not a name", hint: "write it without a dot at its end" };
  }
  const labels = name.split(".");
  for (const label of labels) {
    if (label === "") return { problem: "a part between dots is empty", hint: EXAMPLE };
    if (label.length > LABEL_MAX) {
      return { problem: `a part between dots has more than ${LABEL_MAX} characters`, hint: EXAMPLE };
    }
    if (label.startsWith("-") || label.endsWith("-")) {
      return { problem: `${shown(label)} begins or ends with a hyphen`, hint: EXAMPLE };
    }
  }
  if (/^(?:[0-9]+|0[xX][0-9A-Fa-f]*)$/.test(labels.at(-1) ?? "")) {
    return { problem: "the last part is a number", hint: "write addresses in full, as 192.0.2.1" };
  }
  return undefined;
}

function oddCharacter(character: string): Problem {
  if ((character.codePointAt(0) ?? 0) > 0x7f) {
    return {
      problem: `${shown(character)} is not ASCII`,
      hint: "write names of other scripts in punycode, as xn--bcher-kva.example",
    };
  }
  if (character === "_") return { problem: '"_" is not in names of hosts', hint: EXAMPLE };
  return {
    problem: `${shown(character)} is not in names of hosts`,
    hint: `${EXAMPLE}, without scheme, user, path or spaces`,
  };
}

/** Whether `name`, canonical, is one or more labels below `parent`: www.example.org below example.org. */
export function isBelow(name: string, parent: string): boolean {
  return name.length > parent.length + 1 && name.endsWith(`.${parent}`);
}
