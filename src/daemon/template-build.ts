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
  type MountedImage,
  type SavedMachine,
  type Template,
  type TemplateFiles,
  type TemplateShape,
} from "../vmm/index.js";
import type { Identity } from "./identity.js";
import type { BootedMachine, Machines } from "./machines.js";
import { BARE_SHELL, mountRoot, runFirstCommand } from "./mounted-root.js";
import type { Overlays } from "./overlay.js";
import { flush } from "./workspace-disk.js";

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
  await save(booted, holderPath, files, signal);
}

/**
 * The same with an environment's root mounted and a command behind it: of a machine that goes on from the template
 * without. What is in its memory besides is the image's own. The root's layer, which belongs to that memory from then on, is
 * `layerFile`; it holds what a mount and an identity of nobody's leave, all of it of the time when the image was made,
 * so that nothing on the disk tells of the template's life.
 * @throws {PyroError} what a start throws; VM_SAVE_FAILED, VM_UNRESPONSIVE, MEMORY_FULL, DISK_FULL; the machine is gone then
 */
export async function mountTemplate(
  { machines, overlays, holderPath }: MountRooms,
  { vcpuCount, memMib, diskBytes, isolation }: TemplateShape,
  { image, base }: { readonly image: MountedImage; readonly base: Template },
  files: TemplateFiles,
  signal: AbortSignal,
): Promise<void> {
  const start = async (): Promise<BootedMachine> => {
    await using own = await ownMemory(holderPath, base.saved.memoryFile, signal);
    const { memoryFile } = own;
    return await machines.boot(
      {
        ...{ kind: "template", vcpuCount, memMib, isolation, memoryFile },
        ...{ restore: { ...base.saved, memoryFile }, savedAs: base.savedAs },
        disks: async () => [
          await overlays.make({ path: image.path, format: "qcow2" }, files.layerFile),
          ...emptySlots(diskBytes),
        ],
      },
      signal,
    );
  };
  await using booted = await start();
  await mountRoot(booted.guest, nobodysIdentity(image.createdAtMs), image.workspaceUser ?? "", signal);
  failpoint("template.mounted");
  await runFirstCommand(booted.guest, BARE_SHELL, signal);
  await flush(booted);
  failpoint("template.flushed");
  await booted.guest.system.rehearse({}, { signal, timeoutMs: LIMITS.agentCallTimeoutMs });
  await save(booted, holderPath, files, signal);
}

export interface MountRooms {
  readonly machines: Machines;
  readonly overlays: Overlays;
  /** pyro-hold of the runtime bundle. */
  readonly holderPath: string;
}

async function save(
  booted: BootedMachine,
  holderPath: string,
  files: SavedMachine,
  signal: AbortSignal,
): Promise<void> {
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
  const [rootBytes = 0] = diskBytes;
  const path = join(directory, "empty.raw");
  await using file = await open(path, "wx", 0o600);
  await file.truncate(rootBytes);
  return [{ path, format: "raw", readOnly: false }, ...emptySlots(diskBytes)];
}

function emptySlots([, ...slotBytes]: readonly number[]): DiskSlot[] {
  return slotBytes.map((virtualBytes): DiskSlot => ({ format: "empty", virtualBytes }));
}

async function exercise(guest: GuestConnection, signal: AbortSignal): Promise<void> {
  const call = { signal, timeoutMs: LIMITS.agentCallTimeoutMs };
  for (let done = 0; done < PINGS; done += 1) await guest.system.ping({}, call);
  await guest.control.list({}, call);
  // Frozen and thawed once, so that the first time is not a restored machine's.
  await guest.system.setFrozen({ frozen: true }, call);
  await guest.system.setFrozen({ frozen: false }, call);
  await guest.system.rehearse({}, call);
  await guest.system.personalize(nobodysIdentity(Date.now()), call);
}

/** Values that every restored machine replaces. */
function nobodysIdentity(unixMs: number): Identity {
  return {
    unixNanos: BigInt(Math.round(unixMs)) * 1_000_000n,
    entropy: randomBytes(64),
    hostname: "pyro-template",
    machineId: "0".repeat(32),
  };
}
