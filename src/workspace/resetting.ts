import { readdir, rm } from "node:fs/promises";
import { failpoint } from "../kit/index.js";
import { copyRunning, imageOf, runningOf, SnapshotMemory } from "./snapshot-memory.js";
import { BASELINE, layersOf, requireSnapshot } from "./snapshot-record.js";
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

/**
 * The part of a reset that a later daemon can do as well: it may be done twice. Afterwards it is stopped, or suspended
 * where the snapshot has a memory.
 */
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
  const snapshot = resetTo ?? BASELINE;
  const remembered = snapshot === BASELINE ? null : requireSnapshot(parts.record, snapshot).memory;
  if (remembered !== null) await takeUp(parts, remembered.id);
  const reset = { count: last.count + 1, atMs: context.now(), snapshot };
  const isSuspended = remembered !== null;
  const change = {
    state: isSuspended ? "suspended" : "stopped",
    stoppedBy: "reset",
    stoppedAtMs: context.now(),
    machineId: null,
    failure: null,
    reset,
    resetTo: null,
    // What goes on has the file system open.
    diskInUse: isSuspended,
    secretsInMemory: remembered?.secrets ?? [],
  } as const;
  await kept.save({ ...change, ...kept.touched() });
  await chain.sweep();
}

/** What ran in a snapshot, and its memory, as if the workspace had been suspended there. */
async function takeUp(parts: WorkspaceParts, id: string): Promise<void> {
  const { paths, commands, secretHolders, ports, memory } = parts;
  const { directory } = new SnapshotMemory(paths, id);
  const running = runningOf(directory);
  const sequences = await readdir(running.commands).catch(() => []);
  await copyRunning(sequences.map(Number), running, paths);
  await commands.load();
  await secretHolders.load();
  await ports.load();
  await memory.link(imageOf(directory));
  failpoint("memory.taken-up");
}
