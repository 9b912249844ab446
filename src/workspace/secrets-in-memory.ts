import { maskEnded } from "./ended-output.js";
import type { WorkspaceSecrets } from "./secrets/index.js";
import type { Shells } from "./shells.js";
import type { WorkspaceMachine } from "./workspace-machine.js";
import type { WorkspaceServices } from "./workspace-services.js";

/** How long the machine may take to answer. */
const ANSWER_MS = 5_000;

/** A workspace, as far as its memory may hold secrets. */
interface Remembering {
  readonly secrets: WorkspaceSecrets;
  readonly services: WorkspaceServices;
  readonly shells: Shells;
  readonly runningMachine: WorkspaceMachine | undefined;
  readonly signal: AbortSignal;
}

/**
 * Before a workspace's memory is written or copied: as `WorkspaceSecrets.allowInMemory`, once its machine has said which of
 * the shells and services that were given secrets have ended. Of what has ended no secret is in its output from then on.
 * Gives the names of the secrets that are in it.
 * @throws {PyroError} SECRET_IN_MEMORY, what the machine says
 */
export async function allowInMemory(
  workspace: Remembering,
  what: string,
  allowSecrets: boolean,
): Promise<string[]> {
  const { secrets, services, shells, runningMachine } = workspace;
  const signal = AbortSignal.any([workspace.signal, AbortSignal.timeout(ANSWER_MS)]);
  if (secrets.holders.length > 0 && runningMachine !== undefined) {
    // A machine that does not answer lets go of nobody.
    await Promise.allSettled([services.refresh(runningMachine.services, signal), shells.list(signal)]);
  }
  const allowed = secrets.allowInMemory(what, allowSecrets);
  if (runningMachine !== undefined) await maskEnded(runningMachine, services.all, secrets.redactor, signal);
  return allowed;
}
