import { join } from "node:path";
import {
  complete,
  findProgram,
  installWords,
  isExecutable,
  searchPath,
  thisDistribution,
  type Distribution,
} from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";

const PROGRAM = "qemu-system-x86_64";

/** Searched after PATH: a daemon may run with a poor one. */
const USUAL_PLACES = ["/usr/bin", "/usr/local/bin", "/run/current-system/sw/bin"];

/** Where RHEL and its relatives keep it, under another name. */
const OF_RHEL = "/usr/libexec/qemu-kvm";

/**
 * The path of QEMU.
 * @throws {PyroError} QEMU_NOT_FOUND, with the command that installs it on this distribution
 */
export async function findQemu(given?: string): Promise<string> {
  if (given !== undefined && (await isExecutable(given))) return given;
  const directories = given === undefined ? [...searchPath(process.env["PATH"]), ...USUAL_PLACES] : [];
  const found = await findProgram(PROGRAM, directories);
  if (found !== undefined) return found;
  if (given === undefined && (await isExecutable(OF_RHEL))) return OF_RHEL;
  const where = given ?? `${PROGRAM} in PATH`;
  const { hint, fix } = await remedy("install");
  const places = given === undefined ? directories.map((place) => join(place, PROGRAM)) : [given];
  throw new PyroError("QEMU_NOT_FOUND", `there is no QEMU on this host (looked for ${where})`, {
    ...{ hint, details: { looked_for: places, ...fix } },
  });
}

/** QEMU and its version, such as "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"; the build matters, so it is kept whole. */
export async function locateQemu(
  given?: string,
  signal?: AbortSignal,
): Promise<{ path: string; version: string }> {
  const path = await findQemu(given);
  const result = await complete(path, ["--version"], signal === undefined ? {} : { signal });
  const version = /version (.+)/.exec(result.stdout)?.[1]?.trim();
  if (version === undefined) {
    throw new PyroError(
      "VM_START_FAILED",
      `${path} --version says nothing sensible (exit ${result.code ?? result.signal ?? "?"})`,
      {
        hint: (await remedy("reinstall")).hint,
        details: { stderr: result.stderrTail },
      },
    );
  }
  return { path, version };
}

/**
 * What brings QEMU and qemu-img; on Alpine also what BusyBox has too little of. Debian's were tried, the others are named
 * as those distributions name them.
 */
const PACKAGES: Readonly<Record<Distribution, readonly string[]>> = {
  debian: ["qemu-system-x86", "qemu-utils"],
  fedora: ["qemu-system-x86-core", "qemu-img"],
  rhel: ["qemu-kvm-core", "qemu-img"],
  arch: ["qemu-system-x86", "qemu-img"],
  suse: ["qemu-x86", "qemu-tools"],
  alpine: ["qemu-system-x86_64", "qemu-img", "setpriv", "flock"],
  nixos: ["nixos.qemu"],
};

/** The command that installs QEMU on a distribution, as words; undefined where we do not know it. */
export function installCommand(
  distribution: Distribution | undefined,
  asRoot?: boolean,
): string[] | undefined {
  return distribution === undefined ? undefined : installWords(distribution, PACKAGES[distribution], asRoot);
}

/** The hint of an error about QEMU, and the command that `pyro doctor --fix` runs. */
async function remedy(verb: string): Promise<{ hint: string; fix: { fix?: string[] } }> {
  const words = installCommand(await thisDistribution());
  if (words === undefined)
    return { hint: `${verb} the package of your distribution that has ${PROGRAM}`, fix: {} };
  return { hint: `${verb} it: \`${words.join(" ")}\``, fix: { fix: words } };
}
