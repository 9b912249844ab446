import { startProcess, type GuestConnection } from "../guest/index.js";
import type { InstalledImage } from "../image/index.js";
import { LIMITS, PyroError, type ErrorCode } from "../protocol/index.js";
import type { MountedImage } from "../vmm/index.js";
import { resolveCommand, userOf } from "../workspace/index.js";
import { EXCHANGE_MS, freshIdentity, setClock, type Identity } from "./identity.js";

/**
 * Mounts the root; where it is mounted, as in a machine of a template with its environment, that becomes this machine's.
 * Gives how long that took the guest, in ms.
 * @param workspaceUser whom /workspace belongs to where it is made, as the image names its user; "" is root
 */
export async function mountRoot(
  guest: GuestConnection,
  identity: Identity,
  workspaceUser: string,
  signal: AbortSignal,
): Promise<number> {
  const { durationMs } = await guest.system.mountRoot(
    { device: "/dev/vda", filesystem: "ext4", createWorkspace: true, identity, workspaceUser },
    { signal, timeoutMs: LIMITS.agentCallTimeoutMs },
  );
  return durationMs;
}

/** What a template with the environment mounted is of: two environments may have one disk, and another user on it. */
export function mountedImage({ digest, path, createdAtMs, config }: InstalledImage): MountedImage {
  const { user } = userOf(config);
  return { digest, path, createdAtMs, ...(user === undefined ? {} : { workspaceUser: user }) };
}

/**
 * The identity comes along with the mount: one exchange less, of those that are slow after a restore. Where the root was
 * mounted already, it is so short that the time that came with it is right. Gives what the guest took, in ms.
 */
export async function mountWithIdentity(
  guest: GuestConnection,
  signal: AbortSignal,
  workspaceUser = "",
): Promise<number> {
  const startedAt = performance.now();
  const durationMs = await mountRoot(guest, freshIdentity(), workspaceUser, signal);
  if (performance.now() - startedAt > EXCHANGE_MS) await setClock(guest, signal);
  return durationMs;
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

/** How an environment says that it has no shell that works. */
const NO_SHELL: ReadonlySet<string> = new Set<ErrorCode>([
  "NO_SHELL_IN_ENVIRONMENT",
  "COMMAND_NOT_FOUND",
  "COMMAND_NOT_EXECUTABLE",
]);

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
    if (!(error instanceof PyroError) || !NO_SHELL.has(error.code)) throw error;
  }
}
