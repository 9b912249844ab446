import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { HostPrograms } from "./host-tools.js";
import { parseDeb822, parseSourcesList, sourcesForSuite, type AptSource } from "./sources.js";

/**
 * The Debian sources of this host's apt, for a suite; none where its configuration cannot be read, or names no mirror.
 * @throws {PyroError} HOST_TOOL_NOT_FOUND
 */
export async function readHostSources(
  host: HostPrograms,
  suite: string,
  signal: AbortSignal,
): Promise<AptSource[]> {
  const shell = await host.run(
    "apt-config",
    ["shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"],
    { signal },
  );
  const value = (name: string): string =>
    new RegExp(`^${name}='([^']*)'$`, "m").exec(shell.stdout)?.[1] ?? "";
  const found: AptSource[] = [];
  const read = async (path: string): Promise<void> => {
    const text = await readFile(path, "utf8").catch(() => "");
    found.push(...(path.endsWith(".sources") ? parseDeb822(text) : parseSourcesList(text)));
  };
  await read(value("LIST"));
  const parts = await readdir(value("PARTS")).catch(() => []);
  for (const name of parts.sort()) {
    if (/^[A-Za-z0-9_.-]+\.(list|sources)$/.test(name)) await read(join(value("PARTS"), name));
  }
  const origins = await knownOrigins(host, signal);
  return sourcesForSuite(found, suite, (uri) => origins.get(uri.replace(/\/*$/, "/")));
}

/** Who publishes the repositories that the host's own lists know; empty on a host that never updated. */
async function knownOrigins(host: HostPrograms, signal: AbortSignal): Promise<Map<string, string>> {
  const { stdout } = await host.run("apt-get", ["indextargets", "--format", "$(REPO_URI) $(ORIGIN)"], {
    signal,
  });
  const origins = new Map<string, string>();
  for (const line of stdout.split("\n")) {
    const at = line.indexOf(" ");
    if (at > 0 && at < line.length - 1) origins.set(line.slice(0, at), line.slice(at + 1));
  }
  return origins;
}
