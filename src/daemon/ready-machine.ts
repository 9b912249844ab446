import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { InstalledImage } from "../image/index.js";
import { failpoint, Slots, type Logger } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import type { Disk, Holder, Isolation } from "../vmm/index.js";
import { EMPTY_SLOT, MACHINE_DISK_BYTES } from "./disks.js";
import { giveIdentity } from "./identity.js";
import type { ImagesInUse } from "./images-in-use.js";
import type { BootedMachine } from "./machines.js";
import { LOGIN_SHELL, mountedImage, mountWithIdentity, runFirstCommand } from "./mounted-root.js";
import type { SavedMachines } from "./saved-machines.js";
import type { RestoreRequest, Templates } from "./templates.js";
import { lostWhilePrepared } from "./machine-watch.js";
import { availableMemory } from "./memory.js";
import type { Overlays } from "./overlay.js";
import { WarmPool, type Pooled } from "./warm-pool.js";

/** What ready machines have to have in common to stand for each other. */
export interface ReadyShape {
  readonly image: InstalledImage;
  readonly vcpuCount: number;
  readonly memMib: number;
  readonly isolation: Isolation;
}

/** The same of a machine whose image need only be named. */
type ShapeOfImage = Omit<ReadyShape, "image"> & { readonly image: Pick<InstalledImage, "digest"> };

/** The file of a ready machine's own layer over the image, in its directory. */
export const ROOT_LAYER = "root.qcow2";

/** A machine of its own identity with its environment mounted: all that a first command needs. */
export interface ReadyMachine extends Pooled {
  readonly booted: BootedMachine;
}

export interface ReadyMachinesOptions {
  readonly templates: Templates;
  readonly saved: SavedMachines;
  readonly inUse: ImagesInUse;
  readonly overlays: Overlays;
}

/** A machine at rest answers within 10 ms of being woken; one that does not in this time is of no use. */
const WAKE_TIMEOUT_MS = 3_000;

/** Makes ready machines, and lets them rest until they are used. */
export class ReadyMachines {
  /** From the start to the mounted root: machines that do this in turns are ready sooner than all at once. */
  readonly #turns = new Slots(availableParallelism());

  constructor(private readonly options: ReadyMachinesOptions) {}

  /** Callers that wait for their turn. */
  get queued(): number {
    return this.#turns.queued;
  }

  /** A turn for what else a machine needs before it can be used, ahead of those that have not started yet. */
  async turnToFinish(): Promise<Disposable> {
    return await this.#turns.takeAhead();
  }

  /**
   * An overlay on the image, a start, an identity given, the root mounted. With `savable` in a memory of its own.
   * @throws {PyroError} what a boot throws, DISK_FULL, what the agent says; nothing is left then
   */
  async make(
    shape: ReadyShape,
    signal: AbortSignal,
    options: { readonly savable: boolean; readonly onBooting?: () => void },
  ): Promise<ReadyMachine> {
    const { path } = shape.image;
    const disks: RestoreRequest["disks"] = async (directory, begun) => [
      await this.options.overlays.make({ path, format: "qcow2" }, join(directory, ROOT_LAYER), begun),
      EMPTY_SLOT,
    ];
    const environment = mountedImage(shape.image);
    return await this.#start({ ...shape, disks, environment }, signal, options);
  }

  /** The same over disks that are there: a workspace's. */
  async makeOver(
    { disks, ...shape }: ShapeOfImage & { readonly disks: readonly Disk[] },
    signal: AbortSignal,
  ): Promise<ReadyMachine> {
    const over = { ...shape, disks: () => Promise.resolve(disks) };
    return await this.#start(over, signal, { savable: true }).catch((error: unknown) => {
      throw lostWhilePrepared(error);
    });
  }

  async #start(
    { image, disks, ...shape }: ShapeOfImage & Pick<RestoreRequest, "disks" | "environment">,
    signal: AbortSignal,
    options: { readonly savable: boolean; readonly onBooting?: () => void },
  ): Promise<ReadyMachine> {
    using _turn = await this.#turns.take(signal);
    const held = this.options.inUse.hold(image.digest);
    let booted: BootedMachine | undefined;
    try {
      booted = await this.options.templates.start(
        {
          ...shape,
          ...{ kind: "sandbox", disks, diskBytes: MACHINE_DISK_BYTES, ...options },
        },
        signal,
      );
      await mountWithIdentity(booted.guest, signal, shape.environment?.workspaceUser);
      return toReady(booted, held);
    } catch (error) {
      await booted?.[Symbol.asyncDispose]();
      held[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * A machine that goes on from an image, over its disks: with an identity of its own before any command runs.
   * @throws {PyroError} SAVED_MEMORY_STALE, SAVED_MEMORY_DAMAGED, MEMORY_FULL, what a start throws; nothing is left then
   */
  async revive(
    shape: ShapeOfImage & { readonly disks: readonly Disk[] },
    from: { readonly directory: string; readonly beforeRun: () => Promise<void> },
    signal: AbortSignal,
  ): Promise<ReadyMachine> {
    return await this.#goOn(shape, signal, (request) =>
      this.options.saved.revive(request, from.directory, signal, from.beforeRun),
    );
  }

  /**
   * One that goes on from what was taken of another.
   * @throws {PyroError} MEMORY_FULL, what a start throws; nothing is left then
   */
  async branch(
    shape: ShapeOfImage & { readonly disks: readonly Disk[] },
    from: { readonly holder: Holder; readonly savedAs: string },
    signal: AbortSignal,
  ): Promise<ReadyMachine> {
    return await this.#goOn(shape, signal, (request) =>
      this.options.saved.branch(request, from.holder, from.savedAs, signal),
    );
  }

  async #goOn(
    { disks, image, ...shape }: ShapeOfImage & { readonly disks: readonly Disk[] },
    signal: AbortSignal,
    start: (request: Omit<RestoreRequest, "savable">) => Promise<BootedMachine>,
  ): Promise<ReadyMachine> {
    using _turn = await this.#turns.take(signal);
    const held = this.options.inUse.hold(image.digest);
    let booted: BootedMachine | undefined;
    try {
      const diskBytes = MACHINE_DISK_BYTES;
      booted = await start({ ...shape, kind: "sandbox", disks: () => Promise.resolve(disks), diskBytes });
      failpoint("resume.running");
      await giveIdentity(booted.guest, signal);
      await booted.guest.system.setFrozen(
        { frozen: false },
        { signal, timeoutMs: LIMITS.agentCallTimeoutMs },
      );
      return toReady(booted, held);
    } catch (error) {
      await booted?.[Symbol.asyncDispose]();
      held[Symbol.dispose]();
      throw lostWhilePrepared(error);
    }
  }

  /**
   * Has a template made with the shape's environment mounted, where there is none: later machines over a fresh one start
   * from it. Only the signal ends it with an error.
   */
  async prepareAhead({ image, ...shape }: ReadyShape, signal: AbortSignal): Promise<void> {
    const mounted = mountedImage(image);
    await this.options.templates.prepareAhead({ ...shape, diskBytes: MACHINE_DISK_BYTES, mounted }, signal);
  }

  /** A ready machine that has run a first command, and stands still: it uses memory and nothing else. */
  async makeResting(shape: ReadyShape, signal: AbortSignal): Promise<ReadyMachine> {
    // It may become a workspace's.
    const ready = await this.make(shape, signal, { savable: true });
    try {
      await runFirstCommand(ready.booted.guest, LOGIN_SHELL, signal);
      // The next identity is a store to memory then: 5 ms instead of 19.
      await ready.booted.guest.system.rehearse({}, { signal, timeoutMs: LIMITS.agentCallTimeoutMs });
      failpoint("pool.exercised");
      await ready.booted.machine.pause();
      return ready;
    } catch (error) {
      await ready[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Lets a resting machine run, with the time of now and an identity that it did not have while it rested.
   * @throws {PyroError} VM_UNRESPONSIVE and the like; the machine is gone then
   */
  async wake(ready: ReadyMachine, signal: AbortSignal): Promise<void> {
    failpoint("pool.taken");
    const { booted } = ready;
    try {
      await booted.machine.resume();
      await giveIdentity(booted.guest, AbortSignal.any([signal, AbortSignal.timeout(WAKE_TIMEOUT_MS)]));
    } catch (error) {
      await ready[Symbol.asyncDispose]();
      throw error;
    }
    failpoint("pool.woken");
  }
}

/** Left free for everything else on the host when a machine is made ahead, whatever that one may come to use. */
const SPARE_BYTES = 1024 ** 3;

/** Resting machines of the shapes that were used lately, at most `total`, as far as the host has memory to spare. */
export function poolOfMachines(
  ready: ReadyMachines,
  total: number,
  log: Logger,
): WarmPool<ReadyShape, ReadyMachine> {
  return new WarmPool({
    ...{ total, log },
    // Two environments may have one disk, and another user on it.
    nameOf: ({ image, isolation, vcpuCount, memMib }) =>
      JSON.stringify([image.digest, image.config?.user ?? "", isolation, vcpuCount, memMib]),
    make: async (shape, signal) => {
      await ready.prepareAhead(shape, signal);
      return await ready.makeResting(shape, signal);
    },
    hasRoom: async ({ memMib }) => (await availableMemory()) - memMib * 1024 ** 2 >= SPARE_BYTES,
  });
}

function toReady(booted: BootedMachine, held: Disposable): ReadyMachine {
  return {
    booted,
    gone: booted.machine.exited,
    [Symbol.asyncDispose]: async () => {
      await booted[Symbol.asyncDispose]();
      held[Symbol.dispose]();
    },
  };
}
