import { failpoint } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { Report } from "./operation.js";
import { finishReset } from "./resetting.js";
import type { WorkspaceParts } from "./workspace-parts.js";
import type { WorkspaceMachine } from "./workspace-machine.js";

/** A machine over what the disk of one without a machine holds, or that goes on where it was suspended. */
export async function boot(parts: WorkspaceParts, report: Report): Promise<void> {
  const { chain, kept, memory, slot } = parts;
  // Its active layer may lie on other layers than those that the record names.
  if (parts.record.state === "resetting") await finishReset(parts);
  await chain.settle();
  const wasSuspended = parts.record.state === "suspended";
  const machine = wasSuspended ? await goOn(parts, report) : await open(parts, report);
  const left = parts.commands.running;
  // Its disk may be that of a machine that had a network.
  await slot.attach(machine, { isFresh: false }).catch(async (error: unknown) => {
    await slot.drop();
    throw error;
  });
  const { id: machineId, isolation } = machine;
  const started = { state: "started", stoppedBy: null, stoppedAtMs: null, failure: null } as const;
  await kept.save({ machineId, isolation, ...started, secretsInMemory: [], ...kept.touched() });
  await memory.remove();
  parts.watch(machine);
  failpoint("workspace.started");
  await parts.followAll(left, machine);
  // A snapshot's memory holds services that nobody here knows.
  if (wasSuspended) await goOnServing(parts, machine);
}

/** Services that live on in a machine, as it tells of them, and their ports of the host. */
export async function goOnServing(
  { services, ports }: WorkspaceParts,
  machine: WorkspaceMachine,
): Promise<void> {
  await services.refresh(machine.services).catch(() => undefined);
  await ports.settle();
}

async function open(
  { chain, proof, signal, shape, context }: WorkspaceParts,
  report: Report,
): Promise<WorkspaceMachine> {
  await proof.begin(signal);
  return await context.machines
    .open(shape, chain.layers, { signal, onPhase: report })
    .catch(async (thrown: unknown) => {
      throw await proof.explain(thrown, signal);
    });
}

/** Where its memory fits the disk no more and no machine goes on from it, it is stopped, and its commands are lost. */
async function goOn(parts: WorkspaceParts, report: Report): Promise<WorkspaceMachine> {
  const { chain, proof, memory, signal, shape, context } = parts;
  const from = { directory: memory.directory, beforeRun: () => memory.spend() };
  // What the memory knows of the disk has to be there.
  await proof.begin(signal);
  try {
    return await context.machines.resume(shape, chain.layers, from, { signal, onPhase: report });
  } catch (thrown) {
    if (!(await memory.exists())) await loseMemory(parts, PyroError.from(thrown));
    throw await proof.explain(thrown, signal);
  }
}

/** What ran when it was suspended is lost; its disk is not. */
export async function loseMemory(parts: WorkspaceParts, { code, message, hint }: PyroError): Promise<void> {
  await parts.interrupt(message);
  await parts.crashed({ code, message, hint });
  await parts.memory.remove();
}
