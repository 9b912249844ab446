import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

interface Process {
  readonly pid: number;
  readonly line: string;
}

/** Processes that name the directory on their command line, or work below it. */
export function processesOf(stateDir: string): Process[] {
  const found = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const line = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
      if (line.includes(stateDir) || readlinkSync(`/proc/${name}/cwd`).startsWith(stateDir))
        found.push({ pid, line });
    } catch {
      // It ended meanwhile, or belongs to somebody else.
    }
  }
  return found;
}

/** The machines among them. */
export function machinesOf(stateDir: string): number[] {
  return processesOf(join(stateDir, "vms"))
    .filter(({ line }) => line.includes("qemu-system"))
    .map(({ pid }) => pid);
}

/**
 * Resident and private memory. Private are the pages that it wrote (`Private_Dirty`): what ending the process gives back
 * for certain. Clean pages of a template's file belong to the page cache, also while only one machine maps them.
 */
export function memoryOf(pid: number): { readonly residentMib: number; readonly privateMib: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const mib = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? NaN) / 1024;
  return { residentMib: mib("Rss"), privateMib: mib("Private_Dirty") };
}
