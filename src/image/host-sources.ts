import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { PyroError } from "../protocol/index.js";
import type { HostPrograms } from "./host-tools.js";
import { parseDeb822, parseSourcesList, sourcesForSuite, type AptSource } from "./sources.js";

export interface HostSourcesRequest {
  readonly host: HostPrograms;
  readonly suite: string;
  /** Files in apt's formats that the user names: they are read instead of the configuration of this host's apt. */
  readonly files?: readonly string[] | undefined;
  readonly signal: AbortSignal;
}

/**
 * The Debian sources that this host has for a suite; none where it has no apt, where apt's configuration cannot be read, or
 * where that names no mirror of Debian's.
 * @throws {PyroError} CONFIG_INVALID where a file that the user names cannot be read, or they name no source of the suite
 */
export async function readHostSources({
  host,
  suite,
  files,
  signal,
}: HostSourcesRequest): Promise<AptSource[]> {
  if (files !== undefined) return await readNamed(files, suite);
  if (!(await host.has("apt-config")) || !(await host.has("apt-get"))) return [];
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
    found.push(...parse(path, text));
  };
  await read(value("LIST"));
  const parts = await readdir(value("PARTS")).catch(() => []);
  for (const name of parts.sort()) {
    if (/^[A-Za-z0-9_.-]+\.(list|sources)$/.test(name)) await read(join(value("PARTS"), name));
  }
  const origins = await knownOrigins(host, signal);
  return sourcesForSuite(found, suite, (uri) => origins.get(uri.replace(/\/*$/, "/")));
}

/** By its name a file is in one of apt's two formats, as apt takes it. */
function parse(path: string, text: string): AptSource[] {
  return path.endsWith(".sources") ? parseDeb822(text) : parseSourcesList(text);
}

async function readNamed(files: readonly string[], suite: string): Promise<AptSource[]> {
  const found: AptSource[] = [];
  for (const path of files) {
    try {
      found.push(...parse(path, await readFile(path, "utf8")));
    } catch (error) {
      const { code = String(error) } = error as NodeJS.ErrnoException;
      throw notUsable(`apt_sources names ${path}, which cannot be read (${code})`);
    }
  }
  const sources = sourcesForSuite(found, suite, () => undefined);
  if (sources.length > 0 || files.length === 0) return sources;
  throw notUsable(`apt_sources names files without a source of Debian: ${files.join(", ")}`);
}

function notUsable(message: string): PyroError {
  return new PyroError("CONFIG_INVALID", message, {
    hint: "it names files as apt has them in /etc/apt/sources.list.d, with a mirror of Debian, a suite such as bookworm, and main (`man sources.list`); mend it, then `pyro daemon stop`",
  });
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
