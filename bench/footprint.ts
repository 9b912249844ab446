import { readdirSync, readlinkSync } from "node:fs";
import { memoryOf, processesOf } from "../src/operations/bench/processes.js";

/** What a daemon and its machines hold of the host at one moment. */
export interface Footprint {
  /** Processes that belong to the state directory, the daemon left out. */
  readonly processes: number;
  /** Descriptors of the daemon, and how many of them are sockets. */
  readonly descriptors: number;
  readonly sockets: number;
  /** Files, directories and sockets below the state directory. */
  readonly files: number;
  readonly residentMib: number;
  /** What the daemon alone holds: its private, written memory. */
  readonly privateMib: number;
}

/** Looks once. A daemon that is gone holds nothing. */
export function footprint(stateDir: string, daemonPid: number | undefined): Footprint {
  const owned = processesOf(stateDir).filter(({ pid }) => pid !== daemonPid);
  const memory = daemonPid === undefined ? undefined : memoryOf(daemonPid);
  const links = daemonPid === undefined ? [] : descriptorsOf(daemonPid);
  return {
    processes: owned.length,
    descriptors: links.length,
    sockets: links.filter((link) => link.startsWith("socket:")).length,
    files: readdirSync(stateDir, { recursive: true }).length,
    residentMib: memory?.residentMib ?? 0,
    privateMib: memory?.privateMib ?? 0,
  };
}

function descriptorsOf(pid: number): string[] {
  const links = [];
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    try {
      links.push(readlinkSync(`/proc/${pid}/fd/${name}`));
    } catch {
      // It was closed meanwhile.
    }
  }
  return links;
}
