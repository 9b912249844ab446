import { chmod, stat } from "node:fs/promises";
import type { GuestConnection } from "../guest/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { copyEmptyDisk, type BuildLayer, type ImageBuild, type ImageBuilder } from "../image/index.js";
import type { Logger } from "../kit/index.js";
import type { Disk, Isolation } from "../vmm/index.js";
import { watchMachine } from "./machine-watch.js";
import type { Machines } from "./machines.js";

/** Unpacking is bound by one core; dpkg in the guest wants some room. */
const BUILDER_MEM_MIB = 1024;

export interface BuilderVmOptions extends Omit<BuilderMachine, "disks"> {
  /** The disk that `makeDisk` copies (RuntimeBundle.emptyDiskPath). */
  readonly emptyDisk: () => Promise<string>;
  /** How long the layers of one image may take, from when they are there; its steps have bounds of their own. */
  readonly unpackMs?: number;
}

/** Builds images inside a machine: untrusted archives and what runs as root in them stay off the host. */
export function builderVm(options: BuilderVmOptions): ImageBuilder {
  const { emptyDisk, unpackMs = LIMITS.imageUnpackMs } = options;
  return {
    makeDisk: async (target) => copyEmptyDisk(await emptyDisk(), target),
    build: async (build) => {
      const { files } = build;
      const failure = new AbortController();
      const signal = AbortSignal.any([failure.signal, ...(build.signal === undefined ? [] : [build.signal])]);
      // As root QEMU runs as another user, who opens them anew; nothing in a layer is secret.
      for (const path of files) {
        if (((await stat(path)).mode & 0o777) !== 0o444) await chmod(path, 0o444);
      }
      const disks: Disk[] = [
        { path: build.target, format: "qcow2", readOnly: false, unflushed: true },
        ...files.map((path) => ({ path, format: "raw", readOnly: true }) as const),
      ];
      const machine = { ...options, disks: () => Promise.resolve(disks) };
      // They become whole while the machine boots.
      const layers = build.layers().catch((error: unknown) => {
        failure.abort(error);
        throw error;
      });
      layers.catch(() => undefined);
      try {
        return await inBuilder(machine, signal, async (guest) =>
          unpack(guest, build, await layers, unpackMs, signal),
        );
      } catch (error) {
        throw failure.signal.aborted ? failure.signal.reason : error;
      }
    },
  };
}

export interface BuilderMachine {
  readonly machines: Machines;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
  readonly log: Logger;
  /** Makes or names the disks, given the machine's own directory. */
  readonly disks: (directory: string) => Promise<readonly Disk[]>;
}

/** Does one thing in a machine of its own, which is gone then; rejects with what the machine died of where that is why. */
export async function inBuilder<T>(
  { machines, isolation, log, disks }: BuilderMachine,
  signal: AbortSignal,
  work: (guest: GuestConnection) => Promise<T>,
): Promise<T> {
  await using booted = await machines.boot(
    {
      kind: "builder",
      vcpuCount: 1,
      memMib: BUILDER_MEM_MIB,
      isolation: await isolation(signal),
      disks,
    },
    signal,
  );
  const over = new AbortController();
  const lost = watchMachine(booted.machine, over.signal, log).then((error) => {
    throw error;
  });
  lost.catch(() => undefined);
  const result = await Promise.race([work(booted.guest), lost]).finally(() => over.abort());
  await booted.guest.system
    .shutdown({ graceMs: 0 }, { timeoutMs: LIMITS.agentCallTimeoutMs })
    .catch(() => undefined);
  return result;
}

async function unpack(
  guest: GuestConnection,
  build: ImageBuild,
  made: readonly BuildLayer[],
  unpackMs: number,
  signal: AbortSignal,
): Promise<{ entryCount: number; usedBytes: number }> {
  const layers = made.map(({ path, sizeBytes, offsetBytes = 0, blob }) => ({
    device: deviceName(build.files.indexOf(path) + 1),
    sizeBytes: BigInt(sizeBytes),
    offsetBytes: BigInt(offsetBytes),
    ...blob,
  }));
  const steps = build.steps.map(({ argv, env }) => ({ argv: [...argv], env: [...env] }));
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), unpackMs);
  const either = AbortSignal.any([signal, late.signal]);
  try {
    const events = guest.builder.buildImage(
      { layers, targetDevice: deviceName(0), steps },
      { signal: either },
    );
    for await (const { event } of events) {
      if (event.case === "progress") {
        const { phase, bytesDone, bytesTotal } = event.value;
        if (phase !== "unpack") clearTimeout(timer);
        build.onProgress?.({ phase, bytesDone: Number(bytesDone), bytesTotal: Number(bytesTotal) });
      } else if (event.case === "output") build.onOutput?.(event.value);
      else if (event.case === "result") {
        return { entryCount: Number(event.value.entryCount), usedBytes: Number(event.value.usedBytes) };
      }
    }
  } catch (error) {
    throw late.signal.aborted && !signal.aborted ? tooSlow(unpackMs) : error;
  } finally {
    clearTimeout(timer);
  }
  throw new PyroError("GUEST_PROTOCOL_ERROR", "the builder ended without a result", {
    hint: "try again; if it stays, reinstall pyro: its runtime bundle may be damaged",
  });
}

function tooSlow(unpackMs: number): PyroError {
  return new PyroError(
    "IMAGE_LIMIT_EXCEEDED",
    `the layers exceed the limit "time": unpacking took longer than ${unpackMs / 1000} s`,
    { hint: "try again when this host is less busy; else use a smaller image", retryable: true },
  );
}

/** Disks appear in the order in which they are attached. */
function deviceName(index: number): string {
  return `/dev/vd${String.fromCharCode("a".charCodeAt(0) + index)}`;
}
