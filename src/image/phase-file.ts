import { fingerprintOf, hostBoot, sameFingerprint } from "../kit/index.js";
import type { PullPlace } from "./pull-place.js";
import { phaseFileSchema } from "./record.js";

/** One file that a phase of a pull leaves for the next pull. */
export interface PhaseFile {
  readonly place: PullPlace;
  /** The record's name. */
  readonly phase: "unpacked" | "installed";
  readonly path: string;
  /** Digest of all that went in. */
  readonly inputs: string;
}

/** Says that the file is whole. Nothing is flushed for it: after a crash of the host the phase starts over. */
export async function recordPhaseFile({ place, phase, path, inputs }: PhaseFile): Promise<void> {
  const boot = await hostBoot();
  if (boot === undefined) return;
  await place.write(phase, { format: 2, boot, inputs, fingerprint: await fingerprintOf(path) });
}

/** Whether an earlier pull has made the file of these inputs, and nobody touched it since. */
export async function isPhaseFile({ place, phase, path, inputs }: PhaseFile): Promise<boolean> {
  const kept = await place.read(phase, phaseFileSchema);
  if (kept?.inputs !== inputs || kept.boot !== (await hostBoot())) return false;
  const now = await fingerprintOf(path).catch(() => undefined);
  return now !== undefined && sameFingerprint(now, kept.fingerprint);
}
