import type { EnvironmentPulls, EnvironmentStore } from "../image/index.js";
import { DEFAULT_MACHINE, PyroError } from "../protocol/index.js";
import type { Isolation } from "../vmm/index.js";
import { MACHINE_DISK_BYTES } from "./disks.js";
import { mountedImage } from "./mounted-root.js";
import type { ReadyShape } from "./ready-machine.js";
import type { Templates } from "./templates.js";

export interface PrepareRooms {
  readonly store: Pick<EnvironmentStore, "require">;
  readonly pulls: Pick<EnvironmentPulls, "pull">;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
  readonly templates: Pick<Templates, "prepare">;
  /** Says that machines of the shape will be wanted. */
  readonly expect: (shape: ReadyShape) => void;
}

export interface PrepareRequest {
  readonly environment: string;
  /** Makes the template anew even when a good one stands. */
  readonly force: boolean;
}

/** How far a preparation is: of a pull, or in phase "template". */
export interface PrepareProgress {
  readonly phase: string;
  readonly message: string;
  readonly bytesDone: number;
  /** 0 where it is not known. */
  readonly bytesTotal: number;
}

/** One thing that a machine needs, and whether it was there. */
export interface PrepareStep {
  readonly name: "environment" | "template";
  readonly what: "reused" | "made";
  readonly durationMs: number;
}

export interface Prepared {
  readonly environment: string;
  /** Nothing had to be made. */
  readonly reused: boolean;
  readonly steps: readonly PrepareStep[];
  readonly durationMs: number;
}

/** Who waits for it. */
export interface PrepareCaller {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: PrepareProgress) => void;
}

/**
 * Warms this host for machines of the default shape: what the first one would have to wait for is there afterwards.
 * @throws {PyroError} what a pull, a probe of the accelerators, or a template throws (DISK_FULL,
 *   TEMPLATE_NOT_PRIVATE, VM_SAVE_FAILED and what a boot throws); what was finished is kept
 */
export async function prepareHost(
  { store, pulls, isolation, templates, expect }: PrepareRooms,
  { environment, force }: PrepareRequest,
  { signal, onProgress }: PrepareCaller,
): Promise<Prepared> {
  const startedAt = performance.now();
  const steps: PrepareStep[] = [];
  const step = async (name: PrepareStep["name"], work: () => Promise<{ reused: boolean }>): Promise<void> => {
    const stepAt = performance.now();
    const { reused } = await work();
    steps.push({ name, what: reused ? "reused" : "made", durationMs: performance.now() - stepAt });
  };

  await step("environment", async () => {
    // What a run would take as it is stays as it is.
    if (await isThere(store, environment)) return { reused: true };
    return await pulls.pull(environment, { signal, onProgress });
  });
  await step("template", async () => {
    const message = "a memory template of the default machine";
    onProgress({ phase: "template", message, bytesDone: 0, bytesTotal: 0 });
    const shape = { ...DEFAULT_MACHINE, isolation: await isolation(signal), diskBytes: MACHINE_DISK_BYTES };
    using template = await templates.prepare(shape, signal, { anew: force });
    const mounted = mountedImage(await store.require(environment));
    using second = await templates.prepare({ ...shape, mounted }, signal, { anew: force });
    return { reused: !template.fresh && !second.fresh };
  });
  // In the background: who comes next finds a machine that waits ready.
  expect({ ...DEFAULT_MACHINE, isolation: await isolation(signal), image: await store.require(environment) });
  const reused = steps.every(({ what }) => what === "reused");
  return { environment, reused, steps, durationMs: performance.now() - startedAt };
}

/** Whether the environment is on this host and whole. */
async function isThere(store: PrepareRooms["store"], environment: string): Promise<boolean> {
  try {
    await store.require(environment);
    return true;
  } catch (thrown) {
    const { code } = PyroError.from(thrown);
    if (code === "ENVIRONMENT_NOT_PULLED" || code === "ENVIRONMENT_DAMAGED") return false;
    throw thrown;
  }
}
