import { within } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";

/** A machine's port breaks a moment before its end is known. */
const LAST_SIGHT_MS = 2_000;

/** The error to throw for one of a machine: where its connection broke, the end of the machine says more. */
export async function explainLoss(error: unknown, lost: Promise<PyroError> | undefined): Promise<unknown> {
  const broken = error instanceof PyroError && error.code === "GUEST_DISCONNECTED";
  if (!broken || lost === undefined) return error;
  return await within(lost, LAST_SIGHT_MS, "the machine's end").catch(() => error);
}
