/** The sources of published projects, by this host's own package clients and its registries, as an ordinary user gets them. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);
const FETCH_MS = 240_000;

/** Where a project is published, and as what: always one version, except for Debian's, whose release has one. */
export interface Published {
  readonly from: "npm" | "pypi" | "go" | "debian";
  readonly spec: string;
}

/** Puts a project's published source into a directory that is not there yet. What was fetched is kept for the next time. */
export async function unpackPublished({ from, spec }: Published, target: string): Promise<void> {
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "pyro-smoke");
  const kept = join(cache, `${from}-${createHash("sha256").update(spec).digest("hex").slice(0, 16)}`);
  if (!existsSync(kept)) {
    await mkdir(cache, { recursive: true });
    const fresh = await mkdtemp(join(cache, "fetching-"));
    try {
      await FETCHERS[from](spec, fresh);
      await rename(fresh, kept);
    } catch (error) {
      await rm(fresh, { recursive: true, force: true });
      throw error;
    }
  }
  await mkdir(target);
  const archive = (await readdir(kept)).find((name) => /\.(tgz|tar\.\w+)$/.test(name));
  if (archive === undefined) await cp(join(kept, "source"), target, { recursive: true });
  else {
    const places = ["-C", target, "--strip-components=1", "--no-same-owner"];
    await execute("tar", ["xf", join(kept, archive), ...places]);
  }
}

const FETCHERS: Readonly<Record<Published["from"], (spec: string, into: string) => Promise<unknown>>> = {
  npm: (spec, into) => execute("npm", ["pack", "--silent", spec], { cwd: into, timeout: FETCH_MS }),
  pypi: (spec, into) =>
    execute("python3", ["-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", spec], {
      cwd: into,
      timeout: FETCH_MS,
    }),
  go: async (spec, into) => {
    const { stdout } = await execute("go", ["mod", "download", "-json", spec], {
      cwd: into,
      timeout: FETCH_MS,
    });
    const { Dir } = JSON.parse(stdout) as { Dir: string };
    // Go's cache is read-only.
    await execute("cp", ["-r", "--no-preserve=mode", Dir, join(into, "source")]);
  },
  debian: (spec, into) => fetchDebian(into, { sources: [spec] }),
};

/** The original sources of Debian source packages, and binary packages, by apt with lists and a cache of their own. */
export async function fetchDebian(
  directory: string,
  names: { readonly sources: readonly string[]; readonly packages?: readonly string[] },
): Promise<void> {
  const apt = await mkdtemp(join(tmpdir(), "pyro-apt-"));
  try {
    for (const name of ["lists/partial", "archives/partial", "parts"])
      await mkdir(join(apt, name), { recursive: true });
    await writeFile(join(apt, "status"), "");
    for (const name of await readdir("/etc/apt/sources.list.d").catch(() => [])) {
      if (!name.endsWith(".sources")) continue;
      const text = await readFile(join("/etc/apt/sources.list.d", name), "utf8");
      if (text.includes("debian"))
        await writeFile(join(apt, "parts", name), text.replace(/^Types: deb$/gm, "Types: deb deb-src"));
    }
    const list = await readFile("/etc/apt/sources.list", "utf8").catch(() => "");
    await writeFile(join(apt, "sources.list"), list.replace(/^deb (.*)$/gm, "deb $1\ndeb-src $1"));
    const options = [
      `Dir::State=${apt}`,
      `Dir::State::lists=${apt}/lists`,
      `Dir::State::status=${apt}/status`,
      `Dir::Cache=${apt}`,
      `Dir::Etc::sourcelist=${apt}/sources.list`,
      `Dir::Etc::sourceparts=${apt}/parts`,
      "APT::Sandbox::User=root",
    ].flatMap((option) => ["-o", option]);
    const run = (...args: string[]) =>
      execute("apt-get", [...options, ...args], { cwd: directory, timeout: FETCH_MS });
    await run("update", "-qq");
    await run("source", "--download-only", "-qq", ...names.sources);
    const packages = names.packages ?? [];
    if (packages.length > 0) await run("download", "-qq", ...packages);
    // Of a source package its upstream's tar alone: Debian's own part holds a packaging that the project does not have.
    for (const name of await readdir(directory))
      if (/\.(dsc|debian\.tar\.\w+|asc)$/.test(name)) await rm(join(directory, name));
  } finally {
    await rm(apt, { recursive: true, force: true });
  }
}
