import { failpoint } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import { setClock } from "./identity.js";
import type { BootedMachine } from "./machines.js";
import { scrub } from "./scrub.js";

/** A machine that stands still, with nobody on its agent's line. */
export interface StillMachine {
  /** Lets it go on: its clock is told the time, then its commands run. Streams that were cut go on by themselves. */
  wake(): Promise<void>;
}

/**
 * Brings a machine to where it can be saved, in the one safe order: no call under way, what is over scrubbed, commands
 * frozen, the agent's port left, processors stopped. What cannot be stopped runs on as before.
 * @throws {PyroError} what the agent says, VM_UNRESPONSIVE
 */
export async function standStill({ line, machine }: BootedMachine): Promise<StillMachine> {
  const call = { timeoutMs: LIMITS.agentCallTimeoutMs };
  const wake = async (): Promise<void> => {
    try {
      await machine.resume();
      const guest = await line.comeBack(AbortSignal.timeout(LIMITS.agentCallTimeoutMs));
      await setClock(guest, AbortSignal.timeout(LIMITS.agentCallTimeoutMs));
      await guest.system.setFrozen({ frozen: false }, call);
    } finally {
      line.speak();
    }
  };
  await line.hush();
  try {
    await scrub(line.guest);
    await line.guest.system.setFrozen({ frozen: true }, call);
    failpoint("suspend.frozen");
    await line.hangUp();
    await machine.pause();
    failpoint("suspend.paused");
  } catch (error) {
    await wake().catch(() => undefined);
    throw error;
  }
  return { wake };
}
