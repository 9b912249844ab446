/** The private directories of apt in the cache: own lists, own archives, an empty record of installed packages. */
export interface AptDirectories {
  readonly root: string;
  readonly config: string;
  readonly sources: string;
  readonly status: string;
  readonly lists: string;
  readonly archives: string;
  /** Always empty: apt lists every package of a set only where it finds none already fetched. */
  readonly noArchives: string;
}

/** Names of the private directories below `root`. */
export function aptDirectories(root: string): AptDirectories {
  return {
    root,
    config: `${root}/apt.conf`,
    sources: `${root}/host.sources`,
    status: `${root}/status`,
    lists: `${root}/lists`,
    archives: `${root}/archives`,
    noArchives: `${root}/none`,
  };
}

/**
 * apt's configuration for a pull, read after the host's own (which brings proxies, certificates and keys). It can only
 * fetch: what would install is replaced by a program that fails, because apt with an empty record of installed packages
 * would otherwise "install" them over the host's. The host's hooks are cleared: they act on the host's directories.
 */
export function aptConfiguration(
  directories: AptDirectories,
  architecture: string,
  sandboxUser?: string,
): string {
  const quoted = (path: string): string => `"${path}"`;
  return [
    'Dir::Bin::dpkg "/bin/false";',
    'APT::Get::Download-Only "true";',
    ...[
      "APT::Update::Pre-Invoke",
      "APT::Update::Post-Invoke",
      "APT::Update::Post-Invoke-Success",
      "APT::Install::Pre-Invoke",
      "APT::Install::Post-Invoke-Success",
      "DPkg::Pre-Invoke",
      "DPkg::Post-Invoke",
      "DPkg::Pre-Install-Pkgs",
      "APT::Architectures",
      "Acquire::IndexTargets::deb::DEP-11",
      "Acquire::IndexTargets::deb::DEP-11-icons-small",
      "Acquire::IndexTargets::deb::DEP-11-icons",
      "Acquire::IndexTargets::deb::DEP-11-icons-large",
      "Acquire::IndexTargets::deb::DEP-11-icons-hidpi",
      "Acquire::IndexTargets::deb::CNF",
    ].map((name) => `#clear ${name};`),
    `APT::Architecture ${quoted(architecture)};`,
    `APT::Architectures { ${quoted(architecture)}; };`,
    'APT::Default-Release "";',
    'APT::Install-Recommends "false";',
    'APT::Install-Suggests "false";',
    'APT::Get::AllowUnauthenticated "false";',
    ...(sandboxUser === undefined ? [] : [`APT::Sandbox::User ${quoted(sandboxUser)};`]),
    `Dir::State ${quoted(directories.root)};`,
    `Dir::State::lists ${quoted(directories.lists)};`,
    `Dir::State::status ${quoted(directories.status)};`,
    `Dir::State::extended_states ${quoted(`${directories.root}/extended_states`)};`,
    `Dir::Cache ${quoted(directories.root)};`,
    `Dir::Cache::archives ${quoted(directories.archives)};`,
    'Dir::Cache::pkgcache "";',
    'Dir::Cache::srcpkgcache "";',
    `Dir::Etc::sourcelist ${quoted(directories.sources)};`,
    'Dir::Etc::sourceparts "/dev/null";',
    'Dir::Etc::preferences "/dev/null";',
    'Dir::Etc::preferencesparts "/dev/null";',
    `Dir::Log ${quoted(directories.root)};`,
    'Acquire::Languages "none";',
    'Acquire::GzipIndexes "false";',
    'Acquire::Retries "3";',
    "",
  ].join("\n");
}

/** One package file of a set. */
export interface PackageFile {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** File name in the archives, as apt writes it. */
  readonly file: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal, from the signed package lists. */
  readonly sha256: string;
}

/** Reads what `apt-get --print-uris` says about each file (apt-get(8)); the URIs themselves are dropped. */
export function parsePrintUris(text: string): PackageFile[] {
  const files: PackageFile[] = [];
  for (const line of text.split("\n")) {
    const match = /^'[^']*' (\S+_(\S+)\.deb) (\d+) SHA256:([0-9a-f]{64})$/.exec(line);
    if (match === null) continue;
    const [, file = "", , size = "", sha256 = ""] = match;
    const [name = "", version = "", architecture = ""] = file.slice(0, -".deb".length).split("_");
    files.push({
      name,
      version: decodeURIComponent(version),
      architecture,
      file,
      sizeBytes: Number(size),
      sha256,
    });
  }
  return files;
}

/** The share that is fetched, 0 to 1, from a line of `APT::Status-Fd`; undefined for other lines. */
export function parseDownloadStatus(line: string): number | undefined {
  const match = /^dlstatus:[^:]*:([0-9.]+):/.exec(line);
  return match?.[1] === undefined ? undefined : Math.min(Number(match[1]) / 100, 1);
}
