import { startProcess, type GuestConnection } from "../guest/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { resolveCommand } from "../workspace/index.js";
import { freshIdentity, setClock, type Identity } from "./identity.js";

/**
 * Mounts the root; where it is mounted, as in a machine of a template with its environment, that becomes this machine's.
 * Gives how long that took the guest, in ms.
 */
export async function mountRoot(
  guest: GuestConnection,
  identity: Identity,
  signal: AbortSignal,
): Promise<number> {
  const { durationMs } = await guest.system.mountRoot(
    { device: "/dev/vda", filesystem: "ext4", createWorkspace: true, identity },
    { signal, timeoutMs: LIMITS.agentCallTimeoutMs },
  );
  return durationMs;
}

/** The identity comes along with the mount: one exchange less, of those that are slow after a restore. */
export async function mountWithIdentity(guest: GuestConnection, signal: AbortSignal): Promise<void> {
  await mountRoot(guest, freshIdentity(), signal);
  await setClock(guest, signal);
}

/** The shell is the environment's, and its profile may wait for ever. */
const FIRST_COMMAND_MS = 10_000;

/** What each machine may run for itself. */
export const LOGIN_SHELL: FirstCommand = { command: ":", argv: [] };
/** What one runs that others go on from: no profile, for what such a one makes up would be the same in all of them. */
export const BARE_SHELL: FirstCommand = {
  command: "",
  argv: ["/bin/sh", "-c", ":"].map((word) => Buffer.from(word)),
};

type FirstCommand = Pick<Parameters<typeof resolveCommand>[0], "command" | "argv">;

/** A first command makes the second one four times as fast. It changes no file; an environment may have no shell. */
export async function runFirstCommand(
  guest: GuestConnection,
  first: FirstCommand,
  signal: AbortSignal,
): Promise<void> {
  const command = resolveCommand({ ...first, env: [] });
  try {
    const spec = { ...command, processId: "exercise", timeoutMs: FIRST_COMMAND_MS };
    await using started = await startProcess(guest, spec, { signal });
    for await (const _piece of started.output);
    await started.exit;
  } catch (error) {
    if (!(error instanceof PyroError) || error.code !== "COMMAND_NOT_FOUND") throw error;
  }
}
