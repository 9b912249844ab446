import { randomBytes } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { GuestConnection } from "../guest/index.js";
import type { PersonalizeRequestSchema } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { LIMITS } from "../protocol/index.js";

/** An exchange of this length tells the time well enough; what is longer is tried again. */
export const EXCHANGE_MS = 20;
/** What one takes once the guest has gone through it: 2 to 6 ms under emulation, measured. The first takes 30 to 80. */
const USUAL_MS = 4;
/** A busy host may never be so quick; the last try then counts. */
const TRIES_MAX = 5;

export type Identity = MessageInitShape<typeof PersonalizeRequestSchema>;

/**
 * What no other machine has - entropy first, then clock, host name, machine id and boot id - to be given before anything
 * of a user runs. The clock is only about right: `giveIdentity` or `setClock` follows.
 */
export function freshIdentity(): Identity {
  const machineId = randomBytes(16).toString("hex");
  return { ...timeAndEntropy(), hostname: `pyro-${machineId.slice(0, 8)}`, machineId };
}

/** Of a machine whose files are to stay as they were (`as_is` of MountRoot): what is in no file, and one name for all. */
export function builderIdentity(): Identity {
  return { ...timeAndEntropy(), hostname: "pyro-build" };
}

/** Gives a machine its identity and the time. */
export async function giveIdentity(guest: GuestConnection, signal: AbortSignal): Promise<void> {
  await exchange(guest, freshIdentity(), signal);
}

/** Gives a machine that has its identity the time, and more entropy. */
export async function setClock(guest: GuestConnection, signal: AbortSignal): Promise<void> {
  await exchange(guest, {}, signal);
}

/** Until one is as short as usual: the clock is set to its middle. */
async function exchange(guest: GuestConnection, identity: Identity, signal: AbortSignal): Promise<void> {
  const call = { signal, timeoutMs: LIMITS.agentCallTimeoutMs };
  for (let tried = 1; tried <= TRIES_MAX; tried += 1) {
    const startedAt = performance.now();
    await guest.system.personalize({ ...identity, ...timeAndEntropy() }, call);
    if (performance.now() - startedAt <= EXCHANGE_MS) return;
  }
}

function timeAndEntropy(): Identity {
  return {
    unixNanos: BigInt(Math.round((Date.now() + USUAL_MS / 2) * 1_000)) * 1_000n,
    entropy: randomBytes(64),
  };
}
