import { LIMITS, PyroError } from "../protocol/index.js";
import { SUSPENDED } from "./published-ports.js";
import { finishReset } from "./resetting.js";
import { goOnServing, loseMemory } from "./starting.js";
import { goneMeanwhile, memorySpent, unfinished } from "./workspace-errors.js";
import type { WorkspaceParts } from "./workspace-parts.js";

/** Takes up what an earlier daemon left: its machine, where it runs on, or whatever was begun. */
export async function recover(parts: WorkspaceParts): Promise<void> {
  const { memory, services, secretHolders, ports, chain, slot, context } = parts;
  const { state, machineId, isolation } = parts.record;
  if (state === "creating") {
    await parts.fail(unfinished());
  } else if (state === "resetting") {
    await parts.interrupt("the workspace was reset");
    await finishReset(parts);
  } else if (state === "started" && machineId !== null && isolation !== null) {
    // Of a machine that runs it is worth nothing, whole or not.
    await memory.remove();
    await adopt(parts, machineId, isolation);
  } else if (state === "suspended") {
    await ports.close(SUSPENDED);
    if (await memory.exists()) await memory.sweep();
    else await loseMemory(parts, memorySpent());
  } else {
    await parts.interrupt("the workspace was stopped");
    await services.end("workspace_stopped", context.now());
    await secretHolders.clear();
  }
  await chain.settle(slot.machine);
  await chain.sweep();
}

async function adopt(parts: WorkspaceParts, machineId: string, isolation: "kvm" | "software"): Promise<void> {
  const machine = await parts.context.machines
    .adopt(machineId, { isolation })
    .catch((thrown: unknown) => parts.secrets.error(thrown));
  if (machine === undefined || machine instanceof PyroError) {
    const { code, message, hint } = machine ?? goneMeanwhile();
    await parts.interrupt(message);
    await parts.crashed({ code, message, hint });
    return;
  }
  const left = parts.commands.running;
  const attached = parts.slot.attach(machine, { isFresh: false });
  parts.watch(machine);
  // One that cannot be told of its network is let out nowhere; what runs in it goes on all the same.
  await attached.catch((thrown: unknown) => {
    const { message } = parts.secrets.error(thrown);
    parts.context.log.warn("workspace.network-not-attached", { workspace: parts.id, error: message });
  });
  await parts.followAll(left, machine, LIMITS.attachGraceMs);
  if (!parts.ports.isEmpty) await goOnServing(parts, machine);
}
