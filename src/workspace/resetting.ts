import { rm } from "node:fs/promises";
import { failpoint } from "../kit/index.js";
import { BASELINE, layersOf } from "./snapshot-record.js";
import type { WorkspaceParts } from "./workspace-parts.js";

/** Gives up what a workspace is for what it was; `finishReset` does the rest. */
export async function beginReset(parts: WorkspaceParts, snapshot: string): Promise<void> {
  const layers = [...layersOf(parts.record, snapshot)];
  await parts.kept.save({ state: "resetting", resetTo: snapshot, layers, sealing: null });
  failpoint("workspace.resetting");
  // Before the machine goes: whoever listens learns why, and not how.
  await parts.interrupt("the workspace was reset");
  await parts.slot.drop();
}

/** The part of a reset that a later daemon can do as well: it may be done twice. It is stopped afterwards. */
export async function finishReset(parts: WorkspaceParts): Promise<void> {
  const { memory, chain, commands, services, secretHolders, paths, kept, context } = parts;
  await memory.remove();
  await chain.renew();
  failpoint("workspace.renewed");
  await commands.clear();
  await services.clear();
  await secretHolders.clear();
  await rm(paths.history, { force: true });
  const { reset: last, resetTo } = parts.record;
  const reset = { count: last.count + 1, atMs: context.now(), snapshot: resetTo ?? BASELINE };
  const stopped = { state: "stopped", stoppedBy: "reset", stoppedAtMs: context.now() } as const;
  const change = { ...stopped, machineId: null, failure: null, reset, resetTo: null, diskInUse: false };
  await kept.save({ ...change, ...kept.touched() });
  await chain.sweep();
}
