import { median, repeat, timed } from "../src/operations/bench/samples.js";
import { rawMachine } from "./raw-machine.js";
import { openRig, type Subject } from "./rig.js";

/** What the bare port of a machine does: nothing that a workspace moves can be faster. */
export interface LinkFloors {
  readonly roundTripMs: number;
  /** Raw bytes in frames, thrown away where they come to: host to guest, guest to host. */
  readonly inMbs: number;
  readonly outMbs: number;
}

/** Megabytes (10^6) per second. */
export const rates = (bytes: number, ms: number): number => bytes / ms / 1000;

/** Measures the port of a machine that has nothing mounted. */
export async function linkFloors(of: Subject, megabytes: number): Promise<LinkFloors> {
  await using rig = await openRig(of);
  await using machine = await rawMachine(of, rig.shape.memMib);
  const { guest } = machine;
  const bytes = megabytes * 1_000_000;
  await repeat(200, () => timed(() => guest.system.ping({})));
  const roundTrips = await repeat(500, () => timed(() => guest.system.ping({})));
  await guest.diagnostics.drain({ expectBytes: 0n });
  let received = 0;
  const out: number[] = [];
  const into = await repeat(5, async () => {
    received += bytes;
    out.push(
      await timed(async () => {
        await guest.diagnostics.flood({ bytes: BigInt(bytes) });
        await guest.probeReceived(received);
      }),
    );
    return await timed(async () => {
      const drained = guest.diagnostics.drain({ expectBytes: BigInt(bytes) });
      await guest.floodProbe(bytes);
      await drained;
    });
  });
  return {
    roundTripMs: median(roundTrips),
    inMbs: rates(bytes, median(into)),
    outMbs: rates(bytes, median(out)),
  };
}
