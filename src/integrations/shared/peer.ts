import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** The frameworks that integrations are for: from which version on, and before which. */
export const PEERS = {
  "@anthropic-ai/claude-agent-sdk": ["0.3.0", "0.4.0"],
  "@anthropic-ai/sdk": ["1.0.0", "2.0.0"],
  "@langchain/core": ["1.2.9", "2.0.0"],
  "@mastra/core": ["1.71.0", "2.0.0"],
  "@openai/agents": ["0.14", "0.21"],
  ai: ["7.0.0", "8.0.0"],
  deepagents: ["1.14.0", "2.0.0"],
} as const;

export type PeerName = keyof typeof PEERS;

/**
 * Looks at the framework that is installed beside this package, if there is one.
 * @param from a directory to look from; default this module's
 * @throws {Error} where its version is one that the integration is not for
 */
export function checkPeer(name: PeerName, from?: string): void {
  const version = installed(name, from);
  if (version === undefined || isWithin(version, PEERS[name])) return;
  throw new Error(`pyro-mcp works with ${asked(name)}; ${name} ${version} is installed: ${install(name)}`);
}

/**
 * For an import of the framework that was rejected.
 * @throws {Error} what to install where it is missing; anything else as it is
 */
export function missing(name: PeerName): (error: unknown) => never {
  return (error) => {
    if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new Error(`pyro-mcp needs ${asked(name)} for this: ${install(name)}`, { cause: error });
  };
}

function asked(name: PeerName): string {
  const [first, end] = PEERS[name];
  return `${name} >=${first} <${end}`;
}

/** What to type. */
export function install(name: PeerName): string {
  return `npm install "${name}@>=${PEERS[name][0]} <${PEERS[name][1]}"`;
}

/** The version, by the way that Node looks for packages; many do not export their package.json. */
function installed(name: string, from = import.meta.url): string | undefined {
  const places = createRequire(from).resolve.paths(name) ?? [];
  const file = places.map((place) => join(place, name, "package.json")).find((path) => existsSync(path));
  if (file === undefined) return undefined;
  return (JSON.parse(readFileSync(file, "utf8")) as { version?: string }).version;
}

function isWithin(version: string, [first, end]: readonly [string, string]): boolean {
  return compare(version, first) >= 0 && compare(version, end) < 0;
}

/** By the three numbers; what is before a release counts as it. */
function compare(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(/[.+-]/, 3).map(Number));
  for (const [at, number] of (left ?? []).entries()) {
    const difference = number - (right?.[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
