import { listServices } from "./services.js";
import type { Workspace } from "./workspace.js";

/** How long the machine may take to answer. */
const ANSWER_MS = 5_000;

/**
 * Before a workspace's memory is written or copied: as `WorkspaceSecrets.allowInMemory`, once its machine has said which of
 * the shells and services that were given secrets have ended. Gives the names of the secrets that are in it.
 * @throws {PyroError} SECRET_IN_MEMORY
 */
export async function allowInMemory(
  workspace: Workspace,
  what: string,
  allowSecrets: boolean,
): Promise<string[]> {
  const { secrets, shells, runningMachine } = workspace;
  if (secrets.holders.length > 0 && runningMachine !== undefined) {
    const signal = AbortSignal.any([workspace.signal, AbortSignal.timeout(ANSWER_MS)]);
    // A machine that does not answer lets go of nobody.
    await Promise.allSettled([listServices(workspace, signal), shells.list(signal)]);
  }
  return secrets.allowInMemory(what, allowSecrets);
}
