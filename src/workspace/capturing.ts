import type { Change } from "./workspace-parts.js";
import type { Workspace } from "./workspace.js";
import type { CapturedMachine, WorkspaceMachine } from "./workspace-machine.js";

/**
 * Takes a running workspace as it is, processes and memory. It pauses for the device state, a new layer and one copy of
 * the memory in use; `whileStill` is called meanwhile with the commands that run. The layer that it wrote to is sealed by
 * the way, and has no name.
 * @throws {PyroError} VM_SAVE_FAILED, MEMORY_FULL, DISK_FULL, SNAPSHOT_LIMIT, VM_UNRESPONSIVE; it runs on then
 */
export async function captureRunning(
  workspace: Workspace,
  { chain }: Pick<Change, "chain">,
  machine: WorkspaceMachine,
  whileStill: (sequences: readonly number[]) => Promise<void>,
): Promise<CapturedMachine> {
  let captured: CapturedMachine | undefined;
  try {
    await chain.seal(null, {
      topLayer: () => machine.topLayer(),
      putLayer: async (layers, layer) => {
        captured = await machine.capture(layers, layer, async () => {
          await workspace.secretHolders.saved();
          await whileStill(workspace.commands.running.map(({ sequence }) => sequence));
        });
      },
    });
  } catch (error) {
    await captured?.[Symbol.asyncDispose]();
    throw error;
  }
  if (captured === undefined) throw new Error("a layer was sealed that nobody put");
  return captured;
}
