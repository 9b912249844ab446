import { randomBytes } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { GuestConnection } from "../guest/index.js";
import { failpoint, sleep } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import type { Disk, DiskSlot, SavedMachine, TemplateShape } from "../vmm/index.js";
import type { Machines } from "./machines.js";

/** Enough that every path of a small call was taken, and the agent's heap has its size. */
const PINGS = 20;
/** In which the agent sees that the host has left, and comes to rest. */
const REST_MS = 100;

/**
 * Boots a machine of the shape over empty disks, exercises its agent and saves it, in the one safe order: the guest
 * quiet, the port left, the machine stopped, its state written. No file system is mounted and no command has run, so
 * nothing of an environment or a user is in its memory.
 * @throws {PyroError} what a boot throws; VM_SAVE_FAILED, VM_UNRESPONSIVE, DISK_FULL; the machine is gone then
 */
export async function buildTemplate(
  machines: Machines,
  { vcpuCount, memMib, diskBytes, isolation }: TemplateShape,
  files: SavedMachine,
  signal: AbortSignal,
): Promise<void> {
  await using booted = await machines.boot(
    {
      ...{ kind: "template", vcpuCount, memMib, isolation, memoryFile: files.memoryFile },
      disks: (directory) => emptyDisks(directory, diskBytes),
    },
    signal,
  );
  await exercise(booted.guest, signal);
  failpoint("template.exercised");
  await booted.guest[Symbol.asyncDispose]();
  await sleep(REST_MS, signal);
  await booted.machine.save(files.stateFile);
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
