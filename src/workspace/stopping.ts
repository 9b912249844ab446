import { rename, rm } from "node:fs/promises";
import { failpoint } from "../kit/index.js";
import type { Report } from "./operation.js";
import { SUSPENDED } from "./published-ports.js";
import type { WorkspaceRecord } from "./record.js";
import { lostAtOnce } from "./workspace-errors.js";
import type { SuspendedMachine, WorkspaceMachine } from "./workspace-machine.js";
import type { WorkspaceParts } from "./workspace-parts.js";

/** What the directory of a workspace ends with while it is removed. */
export const CONDEMNED = ".deleted";

/** Flushes its disk and ends its machine; commands that run are ended. */
export async function shutDown(parts: WorkspaceParts, by: "user" | "ttl" | "daemon"): Promise<void> {
  const { slot, services, shells, secretHolders, memory, kept, context } = parts;
  // What runs in it loses it on purpose.
  const machine = slot.take();
  await parts.interrupt("the workspace was stopped");
  await services.end(by === "ttl" ? "workspace_expired" : "workspace_stopped", context.now());
  shells.clear();
  await machine?.shutDown();
  await secretHolders.clear();
  failpoint("workspace.shut-down");
  await memory.remove();
  const stopped = { state: "stopped", stoppedBy: by, stoppedAtMs: context.now() } as const;
  // Of one that was lost before, nobody flushed the disk.
  const diskInUse = machine === undefined && parts.record.diskInUse;
  await kept.save({ ...stopped, machineId: null, diskInUse });
}

/** Ends its machine and keeps its memory. When this rejects it runs on as before, or is lost, which its watch says. */
export async function suspend(
  parts: WorkspaceParts,
  machine: WorkspaceMachine,
  how: Pick<WorkspaceRecord, "stoppedBy" | "secretsInMemory">,
  report: Report,
): Promise<void> {
  const { chain, memory, slot, services, ports, commands, kept, context } = parts;
  report({ message: "saving its memory" });
  // Without the machine it could not be told any more.
  await chain.settle(machine);
  let suspended: SuspendedMachine | undefined;
  try {
    suspended = await machine.suspend(await memory.begin());
    await memory.place();
    if (slot.machine !== machine) throw lostAtOnce(parts.id);
  } catch (error) {
    // In this order: a machine that runs makes what was saved worthless.
    await memory.remove();
    await suspended?.wake().catch(() => machine[Symbol.asyncDispose]());
    throw error;
  }
  slot.take();
  services.detach();
  await ports.close(SUSPENDED);
  for (const command of commands.running) await command.leave();
  const stoppedAtMs = context.now();
  await kept.save({ state: "suspended", ...how, stoppedAtMs, machineId: null, failure: null });
  failpoint("suspend.recorded");
  await machine[Symbol.asyncDispose]();
}

/** Ends its machine, in the middle of whatever it does. */
export async function abandon(parts: WorkspaceParts): Promise<void> {
  await parts.services.close();
  await interruptAnyway(parts);
  await parts.slot.drop();
}

/** Ends everything of one that was abandoned, in its last turn, and removes it from the disk. */
export async function remove(parts: WorkspaceParts): Promise<void> {
  // What had the turn before may have attached a machine.
  await parts.slot.drop();
  await interruptAnyway(parts);
  await parts.commands[Symbol.asyncDispose]();
  await parts.network[Symbol.asyncDispose]();
  parts.shells.clear();
  parts.letGoOfImage();
  // Out of the way in one step: what is half removed is never taken for a workspace.
  const condemned = `${parts.paths.directory}${CONDEMNED}`;
  await parts.kept.close();
  await rename(parts.paths.directory, condemned);
  failpoint("workspace.condemned");
  await rm(condemned, { recursive: true, force: true });
}

/** Whatever cannot be recorded any more, on a full disk: deleting is what makes room. */
async function interruptAnyway(parts: WorkspaceParts): Promise<void> {
  await parts.interrupt("the workspace was deleted").catch(() => undefined);
}
