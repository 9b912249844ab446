import { randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { GuestConnection } from "../guest/index.js";
import { failpoint, sleep } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import {
  ownMemory,
  storeMachine,
  type Disk,
  type DiskSlot,
  type SavedMachine,
  type TemplateShape,
} from "../vmm/index.js";
import type { BootedMachine, Machines } from "./machines.js";

/** Enough that every path of a small call was taken, and the agent's heap has its size. */
const PINGS = 20;
/** In which the agent sees that the host has left, and comes to rest. */
const REST_MS = 100;
/** What a clock that is right may seem to run at. */
const FASTEST_CLOCK = 1.2;
const CLOCK_ATTEMPTS = 3;

/**
 * Boots a machine of the shape over empty disks, exercises its agent and saves it, in the one safe order: the guest
 * quiet, the port left, the machine stopped, its state written. No file system is mounted and no command has run, so
 * nothing of an environment or a user is in its memory. All of its memory is written to as it boots (argv.ts): it lies
 * in the host's memory, and only what is not zero comes into the file.
 * @param holderPath pyro-hold of the runtime bundle
 * @throws {PyroError} what a boot throws; VM_SAVE_FAILED, VM_UNRESPONSIVE, MEMORY_FULL, DISK_FULL; the machine is gone then
 */
export async function buildTemplate(
  machines: Machines,
  holderPath: string,
  { vcpuCount, memMib, diskBytes, isolation }: TemplateShape,
  files: SavedMachine,
  signal: AbortSignal,
): Promise<void> {
  const boot = async (): Promise<BootedMachine> => {
    await using own = await ownMemory(holderPath, files.memoryFile, signal);
    return await machines.boot(
      {
        ...{ kind: "template", vcpuCount, memMib, isolation, memoryFile: own.memoryFile },
        disks: (directory) => emptyDisks(directory, diskBytes),
      },
      signal,
    );
  };
  await using booted = await withTrueClock(boot);
  await exercise(booted.guest, signal);
  failpoint("template.exercised");
  await booted.guest[Symbol.asyncDispose]();
  await sleep(REST_MS, signal);
  await booted.machine.save(files.stateFile);
  const { memoryFile } = booted.machine;
  if (memoryFile === undefined) throw new PyroError("GUEST_DISCONNECTED", "its process has ended");
  await rm(files.memoryFile);
  await storeMachine(holderPath, { ...files, memoryFile }, files.memoryFile, signal);
}

/**
 * A machine whose clock is right. Under emulation on a busy host a kernel may measure its processor wrong as it boots (12
 * to 19 times too fast was seen), and every machine that starts from it would have that clock: each wait of its programs
 * would end too early.
 */
async function withTrueClock(boot: () => Promise<BootedMachine>): Promise<BootedMachine> {
  for (let attempt = 1; ; attempt += 1) {
    const booted = await boot();
    const rate = clockRate(booted.guest.hello.boot, booted.bootMs);
    if (rate <= FASTEST_CLOCK) return booted;
    await booted[Symbol.asyncDispose]();
    if (attempt === CLOCK_ATTEMPTS) throw wrongClock(rate);
  }
}

/**
 * How fast the guest's clock ran while it booted: at most about 1, for it begins after its machine does. 0 where the agent
 * says nothing.
 */
export function clockRate(
  boot: { readonly kernelMs: number; readonly agentMs: number } | undefined,
  bootMs: number,
): number {
  return boot === undefined ? 0 : (boot.kernelMs + boot.agentMs) / Math.max(bootMs, 1);
}

function wrongClock(rate: number): PyroError {
  return new PyroError(
    "VM_SAVE_FAILED",
    `the clock of a machine that was booted for a template runs ${rate.toFixed(1)} times too fast`,
    { hint: "the host is very busy: try again when it is less so", retryable: true },
  );
}

/** A writable disk and empty slots, each of its size; the guest reads nothing of them but that. */
async function emptyDisks(directory: string, diskBytes: readonly number[]): Promise<(Disk | DiskSlot)[]> {
  const [rootBytes = 0, ...slotBytes] = diskBytes;
  const path = join(directory, "empty.raw");
  await using file = await open(path, "wx", 0o600);
  await file.truncate(rootBytes);
  return [
    { path, format: "raw", readOnly: false },
    ...slotBytes.map((virtualBytes): DiskSlot => ({ format: "empty", virtualBytes })),
  ];
}

async function exercise(guest: GuestConnection, signal: AbortSignal): Promise<void> {
  const call = { signal, timeoutMs: LIMITS.agentCallTimeoutMs };
  for (let done = 0; done < PINGS; done += 1) await guest.system.ping({}, call);
  await guest.control.list({}, call);
  // Frozen and thawed once, so that the first time is not a restored machine's.
  await guest.system.setFrozen({ frozen: true }, call);
  await guest.system.setFrozen({ frozen: false }, call);
  await guest.system.rehearse({}, call);
  // Values that every restored machine replaces.
  await guest.system.personalize(
    {
      unixNanos: BigInt(Date.now()) * 1_000_000n,
      entropy: randomBytes(64),
      hostname: "pyro-template",
      machineId: "0".repeat(32),
    },
    call,
  );
}
