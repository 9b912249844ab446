import { readdir, readFile } from "node:fs/promises";
import { sleep } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";

/** A process, told apart from a later one of the same pid by when it started (clock ticks since boot). */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
}

/** A killed process leaves at once unless the kernel holds it (a dead network disk, say). */
const GONE_WITHIN_MS = 10_000;
const POLL_MS = 10;

/** Every process with `-name ID` in its arguments: QEMU, or what is about to become it. */
export async function processesNamed(id: string): Promise<ProcessIdentity[]> {
  const found: ProcessIdentity[] = [];
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    // First who it is, then what it runs: a pid that is reused in between has another start time.
    const startTime = await startTimeOf(pid);
    if (startTime !== undefined && (await isNamed(pid, id))) found.push({ pid, startTime });
  }
  return found;
}

/**
 * KILLs the process, if it is still the same one, and waits until it is gone.
 * @throws {PyroError} VM_UNRESPONSIVE when the kernel holds it for 10 s
 */
export async function endProcess(found: ProcessIdentity): Promise<void> {
  const { pid } = found;
  const deadline = performance.now() + GONE_WITHIN_MS;
  while (await isAlive(found)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      return;
    }
    if (performance.now() > deadline) {
      throw new PyroError(
        "VM_UNRESPONSIVE",
        `process ${pid} of a machine does not end although it was killed`,
        {
          hint: `look at it with \`ps -o pid,stat,wchan,args ${pid}\`; the kernel holds it, often for a disk that does not answer`,
          retryable: true,
        },
      );
    }
    await sleep(POLL_MS);
  }
}

/** Whether it still runs: the same process, not a later one of its pid. */
export async function isAlive({ pid, startTime }: ProcessIdentity): Promise<boolean> {
  return (await startTimeOf(pid)) === startTime;
}

/** Field 22 of /proc/PID/stat; undefined for one that is gone or only waits to be reaped. */
async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => undefined);
  // The name in parentheses may hold anything, blanks and parentheses included.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  const state = fields?.[0];
  return state === undefined || state === "Z" || state === "X" ? undefined : fields?.[19];
}

async function isNamed(pid: number, id: string): Promise<boolean> {
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  const args = commandLine.split("\0");
  return args.some((arg, index) => arg === "-name" && args[index + 1] === id);
}
