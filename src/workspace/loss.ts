import { within } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { letGoMeanwhile } from "./workspace-errors.js";

/** A machine's port breaks a moment before its end is known. */
const LAST_SIGHT_MS = 2_000;
/** The files of a machine go after its end is known. */
const MISSING_MS = 250;

/** A workspace, as far as it says why a call under way ended. */
interface Owner {
  readonly id: string;
  readonly record: { readonly state: string };
  readonly runningMachine: unknown;
  readonly signal: AbortSignal;
}

/**
 * The error to throw for one of a workspace's machine: where that was lost, how; where it was let go of on purpose, what
 * became of the workspace.
 */
export async function explainEnd(
  error: unknown,
  machine: { readonly lost: Promise<PyroError> },
  owner: Owner,
): Promise<unknown> {
  if (owner.runningMachine === machine) return await explainLoss(error, machine.lost);
  if (!isBroken(error)) return error;
  // Told by now, where it ended by itself.
  const lost = await Promise.race([machine.lost, Promise.resolve(undefined)]);
  if (lost !== undefined) return lost;
  return owner.signal.aborted ? owner.signal.reason : letGoMeanwhile(owner.id, owner.record.state);
}

function isBroken(error: unknown): boolean {
  return error instanceof PyroError && error.code === "GUEST_DISCONNECTED";
}

/**
 * The error to throw for one of a machine: where its connection broke, the end of the machine says more; and so where it
 * failed for want of a file of a machine that has just gone.
 */
export async function explainLoss(error: unknown, lost: Promise<PyroError> | undefined): Promise<unknown> {
  if (lost === undefined || !(isBroken(error) || isMissing(error))) return error;
  const waitMs = isBroken(error) ? LAST_SIGHT_MS : MISSING_MS;
  return await within(lost, waitMs, "the machine's end").catch(() => error);
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
}
