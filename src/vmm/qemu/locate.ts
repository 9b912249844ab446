import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { complete, findProgram, isExecutable, searchPath } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";

const PROGRAM = "qemu-system-x86_64";

/** Searched after PATH: a daemon may run with a poor one. */
const USUAL_PLACES = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"];

/**
 * The path of QEMU.
 * @throws {PyroError} QEMU_NOT_FOUND, with the command that installs it on this distribution
 */
export async function findQemu(given?: string): Promise<string> {
  if (given !== undefined && (await isExecutable(given))) return given;
  const directories = given === undefined ? [...searchPath(process.env["PATH"]), ...USUAL_PLACES] : [];
  const found = await findProgram(PROGRAM, directories);
  if (found !== undefined) return found;
  const where = given ?? `${PROGRAM} in PATH`;
  throw new PyroError("QEMU_NOT_FOUND", `there is no QEMU on this host (looked for ${where})`, {
    hint: `install it: \`${installCommand(await osRelease())}\``,
    details: { looked_for: given === undefined ? directories.map((place) => join(place, PROGRAM)) : [given] },
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
        hint: `reinstall it: \`${installCommand(await osRelease())}\``,
        details: { stderr: result.stderrTail },
      },
    );
  }
  return { path, version };
}

/** The command that installs QEMU, by ID and ID_LIKE of os-release(5). */
export function installCommand(release: string): string {
  const field = (name: string): string => new RegExp(`^${name}="?([^"\n]*)"?$`, "m").exec(release)?.[1] ?? "";
  const commands: Readonly<Record<string, string>> = {
    debian: "sudo apt-get install -y --no-install-recommends qemu-system-x86 qemu-utils",
    ubuntu: "sudo apt-get install -y --no-install-recommends qemu-system-x86 qemu-utils",
    fedora: "sudo dnf install -y qemu-system-x86-core qemu-img",
    arch: "sudo pacman -S --needed qemu-system-x86 qemu-img",
    suse: "sudo zypper install -y qemu-x86 qemu-tools",
    alpine: "sudo apk add qemu-system-x86_64 qemu-img",
  };
  const names = [field("ID"), ...field("ID_LIKE").split(/\s+/)];
  const known = names.map((name) => commands[name]).find((command) => command !== undefined);
  return known ?? `the package of your distribution that has ${PROGRAM}`;
}

async function osRelease(): Promise<string> {
  return readFile("/etc/os-release", "utf8").catch(() => "");
}
