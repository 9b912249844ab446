import { startProcess } from "../guest/index.js";
import type { EnvironmentPulls, EnvironmentStore, InstalledImage } from "../image/index.js";
import type { Logger } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { Isolation } from "../vmm/index.js";
import type {
  NetworkPolicyText,
  Sandbox,
  SandboxFactory,
  SandboxSpec,
  WorkspaceNetworks,
} from "../workspace/index.js";
import { guestNetwork } from "./guest-network.js";
import { lostWhilePrepared, watchMachine } from "./machine-watch.js";
import type { BootedMachine } from "./machines.js";
import type { ReadyMachine, ReadyMachines, ReadyShape } from "./ready-machine.js";
import type { WarmPool } from "./warm-pool.js";

export interface SandboxesOptions {
  readonly ready: ReadyMachines;
  readonly pool: WarmPool<ReadyShape, ReadyMachine>;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
  readonly store: EnvironmentStore;
  readonly pulls: EnvironmentPulls;
  readonly networks: WorkspaceNetworks;
  readonly log: Logger;
}

type OpenOptions = Parameters<SandboxFactory["open"]>[1];

/** Sandboxes of real machines: one that waits in the pool, or one made for the caller. */
export function sandboxes(options: SandboxesOptions): SandboxFactory {
  return {
    open: async (spec, open) => {
      const startedAt = performance.now();
      const { machine, image } = await openReady(options, { ...spec, savable: false }, open);
      const startupUs = Math.round((performance.now() - startedAt) * 1000);
      const sandbox = await toSandbox(machine, startupUs, spec.network, options);
      return { ...sandbox, ...(image.config === undefined ? {} : { config: image.config }) };
    },
  };
}

/**
 * A ready machine over a fresh environment: from the pool, or made now.
 * @throws {PyroError} what the environment's store, a pull, or a start throws
 */
export async function openReady(
  options: SandboxesOptions,
  spec: SandboxSpec & { readonly savable: boolean },
  open: OpenOptions,
): Promise<{ machine: ReadyMachine; image: InstalledImage }> {
  open.onPhase?.({ phase: "queued", message: "waiting for a machine" });
  const image = await requireImage(options, spec, open);
  open.onEnvironment?.(image.config);
  const isolation = await options.isolation(open.signal);
  const shape = { image, vcpuCount: spec.vcpuCount, memMib: spec.memMib, isolation };
  const onBooting = (): void =>
    open.onPhase?.({ phase: "booting", message: `a machine starts (${isolation})` });
  const machine =
    (await takePooled(options, shape, open.signal)) ??
    (await options.ready
      .make(shape, open.signal, { savable: spec.savable, onBooting })
      .catch((error: unknown) => {
        throw lostWhilePrepared(error);
      }));
  options.pool.used(shape);
  return { machine, image };
}

/** One that waited, awake; undefined where none did. One that does not wake fails nobody. */
async function takePooled(
  { pool, ready, log }: SandboxesOptions,
  shape: ReadyShape,
  signal: AbortSignal,
): Promise<ReadyMachine | undefined> {
  const machine = pool.take(shape);
  if (machine === undefined) return undefined;
  try {
    await ready.wake(machine, signal);
    return machine;
  } catch (thrown) {
    signal.throwIfAborted();
    const { code, message } = PyroError.from(thrown);
    log.warn("pool.not-woken", { code, reason: message });
    return undefined;
  }
}

/** The environment's image, made first where it is missing and the caller allows that; a damaged one is an error. */
export async function requireImage(
  { store, pulls }: Pick<SandboxesOptions, "store" | "pulls">,
  { environment, noPull }: Pick<SandboxSpec, "environment" | "noPull">,
  { signal, onPhase, onEnvironment }: OpenOptions,
): Promise<InstalledImage> {
  try {
    return await store.take(environment);
  } catch (error) {
    if (noPull || !(error instanceof PyroError) || error.code !== "ENVIRONMENT_NOT_PULLED") throw error;
  }
  // A curated one says nothing of commands: who relies on that need not wait for it.
  if ((await store.nameOf(environment)).recipe !== undefined) onEnvironment?.(undefined);
  await pulls.pull(environment, {
    signal,
    onProgress: ({ message, phase, bytesDone, bytesTotal }) =>
      onPhase?.({
        phase: "pulling",
        message: `${phase}: ${message}`,
        ...(bytesTotal > 0 ? { progress: bytesDone / bytesTotal } : {}),
      }),
  });
  return await store.take(environment);
}

async function toSandbox(
  ready: ReadyMachine,
  startupUs: number,
  policy: NetworkPolicyText,
  { networks, log }: Pick<SandboxesOptions, "networks" | "log">,
): Promise<Sandbox> {
  const { booted } = ready;
  const { machine } = booted;
  const over = new AbortController();
  let network: AsyncDisposable | undefined;
  const dispose = async (): Promise<void> => {
    over.abort();
    await ready[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
  };
  try {
    network = policy.mode === "off" ? undefined : await letOut(booted, policy, { networks, over, log });
  } catch (error) {
    await dispose();
    throw error;
  }
  let commands = 0;
  return {
    isolation: machine.isolation,
    guestKernel: booted.guest.hello.kernelRelease,
    startupUs,
    lost: watchMachine(machine, over.signal, log),
    start: async (spec) => {
      commands += 1;
      return await startProcess(
        booted.guest,
        { ...spec, processId: `command-${commands}` },
        { reconnect: (signal) => booted.reconnect(signal) },
      );
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** A network of its own, as long as the machine is there. */
async function letOut(
  booted: BootedMachine,
  policy: NetworkPolicyText,
  { networks, over, log }: Pick<SandboxesOptions, "networks" | "log"> & { readonly over: AbortController },
): Promise<AsyncDisposable> {
  const network = await networks.open({ policy, redact: (text) => text });
  try {
    await network.attach(guestNetwork(booted, over.signal, log));
    return network;
  } catch (error) {
    await network[Symbol.asyncDispose]();
    throw error;
  }
}
