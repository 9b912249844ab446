import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  configRecord,
  imagePath,
  sealImage,
  type EnvironmentStore,
  type HostPrograms,
  type InstalledImage,
} from "../image/index.js";
import { allocatedBytes, failpoint } from "../kit/index.js";
import type { NetworkPolicyText } from "../workspace/index.js";
import { BuildContext, type ContextSource } from "./context.js";
import { buildKey, stepKey } from "./key.js";
import { inMachine } from "./in-machine.js";
import type { LayerCache } from "./layers.js";
import type { StepMachine, StepMachines } from "./machines.js";
import type { Plan, PlannedStep } from "./plan.js";
import { doStep, ownership, type KeyedStep } from "./step.js";
import { namingStep, type NumberedStep } from "./step-errors.js";

/** How far a build is. */
export interface BuildEvents {
  /** `state`: it is there already, or it begins. */
  readonly onStep: (step: NumberedStep, state: "cached" | "running") => void;
  /** What a step prints; its next output waits until this was taken. */
  readonly onOutput: (data: Uint8Array) => Promise<void>;
  readonly onProgress: (progress: { message: string; bytesDone: number; bytesTotal: number }) => void;
}

export interface BuildRunOptions {
  readonly name: string;
  readonly image: InstalledImage;
  readonly plan: Plan;
  /** Where COPY takes from. */
  readonly context: string;
  readonly network: NetworkPolicyText;
  readonly vcpuCount: number;
  readonly memMib: number;
  readonly stepTimeoutMs: number;
  /** Differs where nothing that was done before is to be used. */
  readonly salt: string;
  readonly store: EnvironmentStore;
  readonly host: HostPrograms;
  readonly machines: StepMachines;
  readonly layers: LayerCache;
  /** A directory of this build alone. */
  readonly directory: string;
  readonly inUse: () => Promise<ReadonlySet<string>>;
  readonly events: BuildEvents;
  readonly signal: AbortSignal;
}

/** What a build came to. */
export interface BuildOutcome {
  /** The whole was there already, under this name. */
  readonly reused: boolean;
  /** Steps that make a layer, and how many of them were there. */
  readonly stepCount: number;
  readonly cachedCount: number;
  /** Of the whole, and of its steps. */
  readonly key: string;
  readonly stepKeys: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * One build: what is there is used, each other step runs in a machine of its own over the layers before it and becomes a
 * layer, and the whole becomes an image.
 * @throws {PyroError} ENVIRONMENT_BUILD_FAILED where a step fails, BUILD_…, SEED_…, what a machine throws, DISK_FULL
 */
export async function runBuild(options: BuildRunOptions): Promise<BuildOutcome> {
  const { plan, image, salt, layers, events, signal } = options;
  const copies = plan.steps.some(({ action }) => action.kind === "copy");
  await using context = copies ? await BuildContext.open(options.context) : undefined;
  events.onProgress({ message: "looking for what is there", bytesDone: 0, bytesTotal: 0 });
  const steps = await keyed(plan.steps, `${image.digest}${salt}`, context, signal);
  const top = steps.at(-1)?.key ?? `${image.digest}${salt}`;
  const key = buildKey(top, plan.config);
  const common = { stepCount: steps.length, key, stepKeys: steps.map((step) => step.key) };
  const warnings = (): readonly string[] => [...plan.warnings, ...(context?.warnings ?? [])];
  if (await isBuilt(options, key)) {
    for (const step of steps) events.onStep(step, "cached");
    return { ...common, reused: true, cachedCount: steps.length, warnings: warnings() };
  }
  const below: string[] = [];
  let cachedCount = 0;
  for (const step of steps) {
    signal.throwIfAborted();
    const under = below.at(-1) ?? image.path;
    let layer = await layers.find(step.key, under);
    events.onStep(step, layer === undefined ? "running" : "cached");
    if (layer === undefined) layer = await makeLayer(options, step, below, context);
    else cachedCount += 1;
    below.push(layer);
  }
  await seal(options, key, below);
  return { ...common, reused: false, cachedCount, warnings: warnings() };
}

async function isBuilt({ store, name }: BuildRunOptions, key: string): Promise<boolean> {
  const manifest = await store.manifest(name);
  return (
    manifest?.source === "build" && manifest.recipe === `sha256:${key}` && (await store.isWhole(manifest))
  );
}

/** Names of all steps: each has in it what lies below, so that a change changes all that follow. */
async function keyed(
  planned: readonly PlannedStep[],
  base: string,
  context: BuildContext | undefined,
  signal: AbortSignal,
): Promise<KeyedStep[]> {
  const steps: KeyedStep[] = [];
  let below = base;
  for (const [index, step] of planned.entries()) {
    const sources: (ContextSource & { digest: string })[] = [];
    const { action } = step;
    if (action.kind === "copy" && context !== undefined) {
      for (const source of action.sources) {
        for (const found of await context.find(step.place, source)) {
          sources.push({ ...found, digest: await context.digest(found, ownership(action), signal) });
        }
      }
    }
    below = stepKey(
      below,
      step,
      sources.map(({ kind, path, digest }) => `${kind} ${digest} ${path}`),
    );
    steps.push({ ...step, number: index + 1, total: planned.length, key: below, sources });
  }
  return steps;
}

async function makeLayer(
  options: BuildRunOptions,
  step: KeyedStep,
  below: readonly string[],
  context: BuildContext | undefined,
): Promise<string> {
  const { directory, image, layers, machines, events, signal } = options;
  const { network, vcpuCount, memMib, stepTimeoutMs } = options;
  const target = join(directory, "step.qcow2");
  await rm(target, { force: true });
  try {
    failpoint("build.step");
    const spec = { image, below, target, network, vcpuCount, memMib };
    const work = async (machine: StepMachine): Promise<void> => {
      await doStep(machine, step, context, { stepTimeoutMs, onOutput: events.onOutput, signal });
      failpoint("build.step-done");
      await machine.finish(signal);
    };
    await inMachine(machines, spec, work, signal);
    return await layers.keep(step.key, target, below.at(-1) ?? image.path);
  } catch (error) {
    await rm(target, { force: true });
    signal.throwIfAborted();
    throw namingStep(step, error);
  }
}

/** All layers as one image, which needs none of them. */
async function seal(options: BuildRunOptions, key: string, below: readonly string[]): Promise<void> {
  const { store, host, image, name, plan, directory, inUse, events, signal } = options;
  const files = [imagePath(store.layout, image.digest), ...below];
  const used = await Promise.all(files.map(async (file) => allocatedBytes(await stat(file))));
  await sealImage({
    ...{ store, host, directory, inUse, signal },
    from: { path: below.at(-1) ?? image.path, by: "copy" },
    usedBytes: used.reduce((sum, bytes) => sum + bytes, 0),
    manifest: {
      ...{ name, source: "build", recipe: `sha256:${key}`, packages: [] },
      ...(plan.config === undefined ? {} : { config: configRecord(plan.config) }),
    },
    onProgress: (bytesDone, bytesTotal, message) => events.onProgress({ message, bytesDone, bytesTotal }),
  });
}
