import { untilAborted } from "../kit/index.js";
import { explainLoss } from "../workspace/index.js";
import type { StepMachine, StepMachines, StepMachineSpec } from "./machines.js";

/**
 * Does work in a machine of its own, which is gone then. The target is whole where the work ended with `finish`.
 * @throws {PyroError} what a start and the work throw; where the machine was lost meanwhile, what it died of
 */
export async function inMachine(
  machines: StepMachines,
  spec: StepMachineSpec,
  work: (machine: StepMachine) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  await using machine = await machines.open(spec, signal);
  const lost = machine.lost.then((error) => {
    throw error;
  });
  lost.catch(() => undefined);
  const done = work(machine).catch(async (error: unknown) => {
    throw await explainLoss(error, machine.lost);
  });
  // Whoever loses the race may reject later, when nobody listens any more.
  done.catch(() => undefined);
  await untilAborted(Promise.race([done, lost]), signal);
}
