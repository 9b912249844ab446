import { failpoint } from "../kit/index.js";
import { factsOf } from "./disk-check.js";
import { explainLoss } from "./loss.js";
import type { Report } from "./operation.js";
import type { WorkspaceRecord } from "./record.js";
import { BASELINE } from "./snapshot-record.js";
import { goOnServing } from "./starting.js";
import type { WorkspaceParts } from "./workspace-parts.js";
import type { CapturedMachine, WorkspaceMachine } from "./workspace-machine.js";

/** Fills a new workspace: seeds its machine before the baseline is sealed. */
export type Populate = (
  machine: WorkspaceMachine,
  report: Report,
  signal: AbortSignal,
) => Promise<Pick<WorkspaceRecord, "seed" | "warnings">>;

/** The machine of a new workspace, filled; its baseline is sealed. */
export async function make(
  parts: WorkspaceParts,
  populate: Populate,
  { noPull }: { readonly noPull: boolean },
  report: Report,
): Promise<void> {
  const { kept, slot, signal, paths, shape, context } = parts;
  await orGiveUp(parts, async () => {
    if (parts.record.state !== "creating") await kept.save({ state: "creating", failure: null });
    const options = { signal, onPhase: report };
    const fresh = await context.machines.make({ ...shape, noPull }, paths, options);
    const { machine, imageDigest, config = null } = fresh;
    await slot.attach(machine, { isFresh: true });
    parts.holdImage(imageDigest);
    await kept.save({ imageDigest, config, machineId: machine.id, isolation: machine.isolation });
    failpoint("workspace.machine");
    const filled = await populate(machine, report, signal);
    failpoint("workspace.seeded");
    report({ message: "sealing the baseline" });
    await fresh.seal();
    failpoint("workspace.sealed");
    const sealedFiles = { [BASELINE]: await factsOf(paths.baseline) };
    const started = { sealedFiles, diskInUse: true, state: "started" } as const;
    await kept.save({ ...withoutSecrets(parts, filled), ...started, ...kept.touched() });
    parts.watch(machine);
  });
}

/** The machine of one that was forked off: it goes on where the other was captured. */
export async function branch(
  parts: WorkspaceParts,
  captured: CapturedMachine,
  report: Report,
): Promise<void> {
  const { chain, kept, slot, signal, shape, context } = parts;
  await orGiveUp(parts, async () => {
    await chain.renew();
    const options = { signal, onPhase: report };
    const machine = await context.machines.branch(shape, chain.layers, captured, options);
    const left = parts.commands.running;
    await slot.attach(machine, { isFresh: false });
    await kept.save({ machineId: machine.id, isolation: machine.isolation, state: "started" });
    failpoint("fork.started");
    parts.watch(machine);
    await parts.followAll(left, machine);
    // Those that the other had run on here; it is told by none of its own files.
    await goOnServing(parts, machine);
  });
}

/** Where it cannot be made, it fails. */
async function orGiveUp(parts: WorkspaceParts, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (thrown) {
    const { signal, secrets, slot } = parts;
    const known = await explainLoss(thrown, slot.lost);
    const error = secrets.error(signal.aborted ? signal.reason : known);
    await slot.drop();
    await parts.interrupt(error.message);
    if (!signal.aborted) await parts.fail(error);
    throw error;
  }
}

/** What a seed says of itself holds names and paths. */
function withoutSecrets(
  { secrets: { redactor } }: WorkspaceParts,
  { seed, warnings }: Awaited<ReturnType<Populate>>,
): Awaited<ReturnType<Populate>> {
  const { seedPath, originRef } = redactor.values({ seedPath: seed.seedPath, originRef: seed.originRef });
  return { seed: { ...seed, seedPath, originRef }, warnings: redactor.values(warnings) };
}
