import { readFile } from "node:fs/promises";

/** A family of distributions with one package manager and one set of package names. */
export type Distribution = "debian" | "fedora" | "rhel" | "arch" | "suse" | "alpine" | "nixos";

/** By ID and ID_LIKE of os-release(5). Relatives of RHEL also say that they are like Fedora: they come first. */
const FAMILIES: ReadonlyMap<string, Distribution> = new Map([
  ...["debian", "ubuntu"].map((name) => [name, "debian"] as const),
  ...["rhel", "centos", "rocky", "almalinux", "ol"].map((name) => [name, "rhel"] as const),
  ["fedora", "fedora"],
  ["arch", "arch"],
  ["suse", "suse"],
  ["opensuse", "suse"],
  ["alpine", "alpine"],
  ["nixos", "nixos"],
]);

/** What installs packages; their names follow. */
const INSTALL: Readonly<Record<Distribution, readonly string[]>> = {
  debian: ["apt-get", "install", "-y", "--no-install-recommends"],
  fedora: ["dnf", "install", "-y"],
  rhel: ["dnf", "install", "-y"],
  arch: ["pacman", "-S", "--needed", "--noconfirm"],
  suse: ["zypper", "--non-interactive", "install"],
  alpine: ["apk", "add"],
  nixos: ["nix-env", "-iA"],
};

/** The family of a host, by the text of its os-release; undefined where it is none of those. */
export function distributionOf(osRelease: string): Distribution | undefined {
  const field = (name: string): string =>
    new RegExp(`^${name}=(["']?)(.*)\\1\\s*$`, "m").exec(osRelease)?.[2] ?? "";
  const names = [field("ID"), ...field("ID_LIKE").split(/\s+/)];
  return names.map((name) => FAMILIES.get(name)).find((family) => family !== undefined);
}

/** The family of this host. */
export async function thisDistribution(): Promise<Distribution | undefined> {
  for (const path of ["/etc/os-release", "/usr/lib/os-release"]) {
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text !== undefined) return distributionOf(text);
  }
  return undefined;
}

/**
 * The command that installs packages, as words.
 * @param asRoot whether root types it; NixOS installs for the user anyway
 */
export function installWords(
  distribution: Distribution,
  packages: readonly string[],
  asRoot = process.getuid?.() === 0,
): string[] {
  const bare = asRoot || distribution === "nixos";
  return [...(bare ? [] : ["sudo"]), ...INSTALL[distribution], ...packages];
}
