import type { StepMachine, StepMachines, StepMachineSpec } from "../build/index.js";
import { downloadFile, extractTar, listFiles, startProcess, uploadFile } from "../guest/index.js";
import { within, type Logger } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { DiskLayer, Isolation } from "../vmm/index.js";
import {
  NO_NETWORK,
  resolveCommand,
  type WorkspaceNetwork,
  type WorkspaceNetworks,
} from "../workspace/index.js";
import { EMPTY_SLOT, MACHINE_DISK_BYTES } from "./disks.js";
import { guestNetwork } from "./guest-network.js";
import { builderIdentity, setClock } from "./identity.js";
import { lostWhilePrepared, watchMachine } from "./machine-watch.js";
import type { BootedMachine } from "./machines.js";
import type { Overlays } from "./overlay.js";
import type { Templates } from "./templates.js";

export interface BuildMachinesOptions {
  readonly templates: Templates;
  readonly overlays: Overlays;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
  readonly networks: WorkspaceNetworks;
  readonly log: Logger;
}

/** Machines for the steps of builds: from the template, with no name, no machine id and no /workspace of their own. */
export function buildMachines(options: BuildMachinesOptions): StepMachines {
  return {
    open: async (spec, signal) => {
      const booted = await start(options, spec, signal).catch((error: unknown) => {
        throw lostWhilePrepared(error);
      });
      const over = new AbortController();
      let network: WorkspaceNetwork | undefined;
      try {
        if (spec.network.mode !== "off") {
          network = await options.networks.open({ policy: spec.network, redact: (text) => text });
          await network.attach(guestNetwork(booted, over.signal, options.log));
        }
        return toStepMachine(booted, network, over, options.log);
      } catch (error) {
        over.abort();
        await booted[Symbol.asyncDispose]();
        await network?.[Symbol.asyncDispose]();
        throw error;
      }
    },
  };
}

async function start(
  { templates, overlays, isolation }: BuildMachinesOptions,
  { image, below, target, vcpuCount, memMib }: StepMachineSpec,
  signal: AbortSignal,
): Promise<BootedMachine> {
  const base: DiskLayer = { path: image.path, format: "qcow2" };
  const under = below.reduce<DiskLayer>((backing, path) => ({ path, format: "qcow2", backing }), base);
  const booted = await templates.start(
    {
      ...{
        kind: "sandbox",
        vcpuCount,
        memMib,
        isolation: await isolation(signal),
        diskBytes: MACHINE_DISK_BYTES,
      },
      disks: async () => [await overlays.make(under, target), EMPTY_SLOT],
    },
    signal,
  );
  try {
    const call = { signal, timeoutMs: LIMITS.agentCallTimeoutMs };
    const identity = builderIdentity();
    await booted.guest.system.mountRoot(
      { device: "/dev/vda", filesystem: "ext4", asIs: true, identity },
      call,
    );
    await setClock(booted.guest, signal);
    return booted;
  } catch (error) {
    await booted[Symbol.asyncDispose]();
    throw error;
  }
}

function toStepMachine(
  booted: BootedMachine,
  network: WorkspaceNetwork | undefined,
  over: AbortController,
  log: Logger,
): StepMachine {
  const { machine } = booted;
  let full: (error: PyroError) => void;
  const hostFull = new Promise<PyroError>((resolve) => (full = resolve));
  const ended = watchMachine(machine, over.signal, log, (hindrance) => {
    if (hindrance === "host disk full") full(diskFull());
  });
  return {
    lost: Promise.race([ended, hostFull]),
    get refusal() {
      return network?.lastRefusal;
    },
    run: async ({ argv, env, user, cwd, timeoutMs }, onOutput, signal) => {
      const encoder = new TextEncoder();
      const command = resolveCommand(
        { command: "", argv: argv.map((word) => encoder.encode(word)), env: [] },
        { env, user, workingDir: "", entrypoint: [], cmd: [] },
      );
      const reconnect = (inner?: AbortSignal) => booted.reconnect(inner);
      const spec = { ...command, cwd, timeoutMs, processId: "step" };
      await using started = await startProcess(booted.guest, spec, { reconnect, signal });
      for await (const piece of started.output) await onOutput(piece);
      return await started.exit;
    },
    isDirectory: async (path, signal) => {
      // "/." is behind a link; what is no directory has no such entry.
      const at = path.endsWith("/") ? `${path}.` : `${path}/.`;
      try {
        await listFiles(booted.guest, Buffer.from(at), { signal, recursive: false, maxEntries: 1 });
        return true;
      } catch (error) {
        if (error instanceof PyroError && isNone.has(error.code)) return false;
        throw error;
      }
    },
    extract: async (directory, tar, signal) => {
      await extractTar(booted.guest, Buffer.from(directory), tar, { signal });
    },
    finish: async (signal) => {
      // What a machine with a network got of its host goes with the network.
      if (network !== undefined) {
        await network.setPolicy(NO_NETWORK);
        await emptyOwnResolver(booted, signal);
      }
      await booted.guest.system.shutdown({ graceMs: LIMITS.killGraceMs }, { timeoutMs: LIMITS.shutDownMs });
      // From here on its end is what was asked for.
      over.abort();
      await within(machine.exited, LIMITS.shutDownMs, "the machine's end", signal).catch((error: unknown) => {
        signal.throwIfAborted();
        throw new PyroError("VM_UNRESPONSIVE", "the machine did not write its disk out and end", {
          hint: "is the host overloaded? build again",
          retryable: true,
          cause: error,
        });
      });
    },
    [Symbol.asyncDispose]: async () => {
      over.abort();
      await booted[Symbol.asyncDispose]();
      await network?.[Symbol.asyncDispose]();
    },
  };
}

const isNone: ReadonlySet<string> = new Set(["GUEST_FILE_NOT_FOUND", "GUEST_FILE_REFUSED"]);

/** What the agent leaves where there was no resolver: it says no more than an empty file does. */
const OWN_RESOLVER = "nameserver 127.0.0.1\n";

async function emptyOwnResolver({ guest }: BootedMachine, signal: AbortSignal): Promise<void> {
  const path = Buffer.from("/etc/resolv.conf");
  try {
    const { data } = await downloadFile(guest, path, { signal, maxBytes: 1024 });
    const parts: Uint8Array[] = [];
    for await (const part of data) parts.push(part);
    if (Buffer.concat(parts).toString() !== OWN_RESOLVER) return;
    await uploadFile(guest, path, nothing(), { signal });
  } catch (error) {
    if (!(error instanceof PyroError) || !isNone.has(error.code)) throw error;
  }
}

async function* nothing(): AsyncGenerator<Uint8Array, void, void> {
  // An empty file.
}

function diskFull(): PyroError {
  return new PyroError("DISK_FULL", "the host's disk is full, and the machine waits to write to it", {
    hint: "free some space (`pyro env prune` removes what nothing uses), then build again",
    retryable: true,
  });
}
