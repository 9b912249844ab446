import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { connectGuest, type GuestConnection } from "../src/guest/index.js";
import { sleep } from "../src/kit/index.js";
import type { Disk, DiskSlot } from "../src/vmm/index.js";
import { AGENT_SOCKET, qemuArguments } from "../src/vmm/qemu/argv.js";
import type { Subject } from "./rig.js";

export interface RawMachine extends AsyncDisposable {
  readonly guest: GuestConnection;
  /** From spawn to the agent's hello. */
  readonly bootMs: number;
  /** What QEMU has used of the host's processors so far. */
  readonly cpuMs: () => number;
}

/**
 * A machine with nothing of ours around it: the same command line, started directly, its socket tried until the agent
 * answers. What the daemon adds to a boot is measured against this.
 */
export async function rawMachine(
  { qemu, bundle, isolation, directory: parent }: Subject,
  memMib: number,
  disks: readonly (Disk | DiskSlot)[] = [],
): Promise<RawMachine> {
  const directory = await mkdtemp(join(parent, "raw-"));
  const startedAt = performance.now();
  const child = spawn(
    qemu,
    qemuArguments({
      id: "bench",
      isolation,
      vcpuCount: 1,
      memMib,
      kernelPath: bundle.kernelPath,
      initramfsPath: bundle.initramfsPath,
      disks,
    }),
    { cwd: directory, stdio: ["ignore", "ignore", "inherit"] },
  );
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const guest = await connectWhenThere(join(directory, AGENT_SOCKET));
  return {
    guest,
    bootMs: performance.now() - startedAt,
    cpuMs: () => cpuMsOf(child.pid ?? 0),
    [Symbol.asyncDispose]: async () => {
      await guest[Symbol.asyncDispose]();
      child.kill("SIGKILL");
      await gone;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Of all its threads, to 10 ms. (proc(5): utime and stime, in hundredths of a second.) */
function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

async function connectWhenThere(socket: string): Promise<GuestConnection> {
  for (let tries = 0; ; tries++) {
    try {
      return await connectGuest(socket);
    } catch (error) {
      if (tries > 500) throw error;
      await sleep(5);
    }
  }
}
