import type { GuestConnection } from "../guest/index.js";
import { LIMITS } from "../protocol/index.js";

/**
 * Of zeros, which overwrite the buffers of the guest's side of the port: 128 (of QEMU's virtio-serial) of 4 KiB, in turns.
 * Four rounds: a read of the port that comes up short leaves the end of one buffer as it was.
 */
const PORT_FLOOD_BYTES = 4 * 128 * 4096;

/**
 * Overwrites what a machine's agent and its port still hold of what is over, such as the environment of a command that has
 * ended; what else is freed in the guest its kernel clears at once (src/vmm/qemu/argv.ts).
 * @throws {PyroError} what the agent says
 */
export async function scrub(guest: GuestConnection): Promise<void> {
  const { system, diagnostics } = guest;
  const call = { timeoutMs: LIMITS.agentCallTimeoutMs };
  // First: buffers that the agent had aside are gone then, and what the flood comes into is what remains.
  await system.scrub({}, call);
  await diagnostics.drain({ expectBytes: 0n }, call);
  await Promise.all([
    diagnostics.drain({ expectBytes: BigInt(PORT_FLOOD_BYTES) }, call),
    guest.floodProbe(PORT_FLOOD_BYTES),
  ]);
}
