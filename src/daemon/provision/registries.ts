import { homedir } from "node:os";
import { dirname, join } from "node:path";
import type { NetworkVariables } from "../../kit/index.js";
import { readSmallFile } from "./small-file.js";
import { uselessBecause } from "./usable.js";

/** Where the host's package managers fetch from, where that is set. */
export interface Registries {
  /** npm's `registry`. */
  readonly npm?: string;
  /** pip's `index-url`. */
  readonly pip?: string;
  /** Go's GOPROXY. */
  readonly go?: string;
  readonly warnings: readonly string[];
}

export interface RegistrySources {
  readonly variables: NetworkVariables;
  readonly home?: string;
  /** Where the host's settings for all users are. */
  readonly etc?: string;
  readonly nodePath?: string;
}

/** What npm, pip and Go of this host are set to, without running them. Never rejects. */
export async function readRegistries(sources: RegistrySources): Promise<Registries> {
  const warnings: string[] = [];
  const take = (
    what: string,
    address: string | undefined,
    judge: (address: string) => string | undefined,
  ): string | undefined => {
    const why = address === undefined ? undefined : judge(address);
    if (why !== undefined) warnings.push(`machines do not get ${what}: ${why}`);
    return why === undefined ? address : undefined;
  };
  const { variables, home = homedir(), etc = "/etc", nodePath = process.execPath } = sources;
  const npmrcs = await readAll([
    join(home, ".npmrc"),
    join(dirname(dirname(nodePath)), "etc/npmrc"),
    join(etc, "npmrc"),
  ]);
  const npm = npmOf(npmrcs, variables);
  const pipConfigurations = await readAll([
    join(home, ".config/pip/pip.conf"),
    join(home, ".pip/pip.conf"),
    join(etc, "pip.conf"),
    join(etc, "xdg/pip/pip.conf"),
  ]);
  const pip = variables.PIP_INDEX_URL ?? firstOf(pipConfigurations, pipIndexOf);
  const [goSettings = ""] = await readAll([join(home, ".config/go/env")]);
  const go = variables.GOPROXY ?? /^GOPROXY=(.*)$/m.exec(goSettings)?.[1]?.trim();
  const given = {
    npm: take("npm's registry", npm.registry, (address) =>
      npm.needsToken ? "it asks for a token" : uselessBecause(address),
    ),
    pip: take("pip's index", pip, uselessBecause),
    go: take("Go's proxy", go, goUselessBecause),
  };
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...(Object.fromEntries(set) as Omit<Registries, "warnings">), warnings };
}

async function readAll(paths: readonly string[]): Promise<string[]> {
  return (await Promise.all(paths.map(readSmallFile))).filter((text) => text !== undefined);
}

function firstOf(texts: readonly string[], read: (text: string) => string | undefined): string | undefined {
  for (const text of texts) {
    const found = read(text);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The environment, the user's file, the host's: what comes first counts (npm-config). */
function npmOf(
  npmrcs: readonly string[],
  variables: NetworkVariables,
): { readonly registry: string | undefined; readonly needsToken: boolean } {
  const settings = npmrcs.map((text) => new Map(text.split("\n").flatMap(settingOf)));
  const registry =
    variables.npm_config_registry ??
    variables.NPM_CONFIG_REGISTRY ??
    settings.map((each) => each.get("registry")).find((value) => value !== undefined);
  const place = registry?.replace(/^https?:/, "").replace(/\/*$/, "/");
  const needsToken = settings.some((each) =>
    [...each.keys()].some((key) => {
      const scope = /^(\/\/.*\/):(?:_authToken|_auth|_password|username)$/.exec(key)?.[1];
      return scope !== undefined && place?.startsWith(scope) === true;
    }),
  );
  return { registry, needsToken };
}

/** `key = value` of an npmrc. */
function settingOf(line: string): [string, string][] {
  const [, key, value] = /^\s*([^;#=\s][^=]*?)\s*=\s*"?(.*?)"?\s*$/.exec(line) ?? [];
  return key === undefined || value === undefined ? [] : [[key, value]];
}

/** `index-url` of the section `global` or `install` of a pip.conf. */
function pipIndexOf(text: string): string | undefined {
  let section = "";
  let found: string | undefined;
  for (const line of text.split("\n")) {
    section = /^\[(\w+)\]/.exec(line)?.[1] ?? section;
    const value = /^index[-_]url\s*[=:]\s*(\S+)/.exec(line)?.[1];
    if (value !== undefined && (section === "install" || (section === "global" && found === undefined)))
      found = value;
  }
  return found;
}

function goUselessBecause(list: string): string | undefined {
  const addresses = list.split(/[,|]/).filter((entry) => entry !== "direct" && entry !== "off");
  return addresses.map(uselessBecause).find((why) => why !== undefined);
}
