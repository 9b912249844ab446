/** How a registry wants to be told who asks. */
export type Challenge =
  | { readonly scheme: "basic" }
  | {
      readonly scheme: "bearer";
      readonly realm: string;
      readonly service: string | undefined;
      readonly scopes: readonly string[];
    };

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;
const SPACE = /[ \t]*/y;
/** Looked at of one header. */
const CHARACTERS = 8 * 1024;
const SCOPES = 10;

/**
 * The challenge to answer: Bearer before Basic. Reads WWW-Authenticate by RFC 9110 section 11.6.1; what cannot be read
 * ends that header, and is no challenge.
 */
export function challengeOf(headers: readonly string[]): Challenge | undefined {
  const all = headers.flatMap((header) => parseChallenges(header.slice(0, CHARACTERS)));
  const bearer = all.find(({ scheme }) => scheme === "bearer");
  const realm = bearer?.parameters.get("realm");
  if (bearer !== undefined && realm !== undefined) {
    const scopes = (bearer.parameters.get("scope") ?? "").split(" ").filter((scope) => scope !== "");
    return {
      scheme: "bearer",
      realm,
      service: bearer.parameters.get("service"),
      scopes: scopes.slice(0, SCOPES),
    };
  }
  return all.some(({ scheme }) => scheme === "basic") ? { scheme: "basic" } : undefined;
}

interface Parsed {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

function parseChallenges(text: string): Parsed[] {
  const found: Parsed[] = [];
  let parameters = new Map<string, string>();
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  while (at < text.length) {
    take(SPACE);
    if (text[at] === ",") {
      at += 1;
      continue;
    }
    const name = take(TOKEN)?.[0]?.toLowerCase();
    if (name === undefined) break;
    take(SPACE);
    if (text[at] !== "=" || found.length === 0) {
      parameters = new Map();
      found.push({ scheme: name, parameters });
      continue;
    }
    at += 1;
    take(SPACE);
    const quoted = take(QUOTED)?.[1];
    const value = quoted === undefined ? take(TOKEN)?.[0] : quoted.replaceAll(/\\(.)/gs, "$1");
    if (value === undefined) break;
    if (!parameters.has(name)) parameters.set(name, value);
  }
  return found;
}
