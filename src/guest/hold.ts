import { PyroError } from "../protocol/index.js";
import type { GuestConnection } from "./connection.js";

/** Writes to the root of the guest that wait. Disposing of it lets them go on. */
export interface HeldWrites extends AsyncDisposable {
  /**
   * Lets writes go on, once; every call gives the same answer: whether they were held until then. False: what was read
   * from the disk meanwhile may be torn.
   */
  letGo(): Promise<boolean>;
}

/** Longest hold: commands that write hang for as long. */
const MAX_HOLD_MS = 30_000;

/**
 * Flushes the root file system of the guest and holds all writes to it back, for `maxMs` at most: while it is held, the
 * disk is a clean file system by itself. Nothing may write files of the guest through its agent meanwhile: it waits.
 * @throws {PyroError} INVALID_ARGUMENT, DEADLINE_EXCEEDED, GUEST_DISCONNECTED
 */
export async function holdWrites(connection: GuestConnection, maxMs: number): Promise<HeldWrites> {
  if (!Number.isInteger(maxMs) || maxMs < 1 || maxMs > MAX_HOLD_MS) {
    throw new PyroError("INVALID_ARGUMENT", `writes cannot be held for ${maxMs} ms`, { hint: `use 1 to ${MAX_HOLD_MS}` });
  }
  await connection.system.holdWrites({ hold: true, maxMs }, { timeoutMs: maxMs });
  let answer: Promise<boolean> | undefined;
  const letGo = (): Promise<boolean> =>
    (answer ??= connection.system.holdWrites({ hold: false }).then(({ wasHeld }) => wasHeld));
  return {
    letGo,
    [Symbol.asyncDispose]: async () => {
      // A machine that cannot be reached any more lets go by itself, or is no more.
      await letGo().catch(() => undefined);
    },
  };
}
