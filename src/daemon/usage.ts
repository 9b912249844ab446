import { lstat, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { allocatedBytes } from "../kit/index.js";

/** What a process costs the host. */
export interface ProcessUsage {
  /** Time on the host's processors since it began, in microseconds. */
  readonly cpuUs: number;
  /** Its share of memory, or where the kernel does not tell that, what is resident. */
  readonly memoryBytes: number;
  /** Whether pages that it shares with others count only in part (PSS). */
  readonly memoryIsSharedOut: boolean;
}

/** USER_HZ: what the kernel counts in, on every architecture that pyro knows (proc(5)). */
const TICK_US = 10_000;

/** A process's figures; undefined where it is gone. Takes no lock of it: one that was stopped answers as well. */
export async function processUsage(pid: number): Promise<ProcessUsage | undefined> {
  const [stat, rollup] = await Promise.all([
    readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined),
    readFile(`/proc/${pid}/smaps_rollup`, "utf8").catch(() => ""),
  ]);
  if (stat === undefined) return undefined;
  // The name in parentheses may hold anything; behind it: state, ppid, …, utime (12th), stime (13th), …, rss in pages.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  const pss = /^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1];
  return {
    cpuUs: ticks * TICK_US,
    memoryBytes: pss === undefined ? Number(fields[21] ?? 0) * 4096 : Number(pss) * 1024,
    memoryIsSharedOut: pss !== undefined,
  };
}

/** What the files below a directory take on the disk, in bytes; what vanishes meanwhile counts nothing. */
export async function diskUsage(directory: string, except: readonly string[] = []): Promise<number> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  const sizes = entries
    .filter(({ name }) => !except.includes(name))
    .map(async (entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return await diskUsage(path);
      return await lstat(path).then(allocatedBytes, () => 0);
    });
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}
