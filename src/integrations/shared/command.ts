import { commandExitCode } from "../../operations/vm/run.js";
import { PyroError } from "../../protocol/index.js";
import {
  collectEvents,
  type CommandOutcome,
  type CommandResult,
  type ExecWorkspaceOptions,
  type Pyro,
  type RunEvent,
} from "../../sdk/index.js";

/** Who hears a command's output as it comes, and who ends it. */
export interface CommandHooks {
  readonly onStdout?: ((data: Uint8Array) => void) | undefined;
  readonly onStderr?: ((data: Uint8Array) => void) | undefined;
  /** Kept of each stream, head and tail half each; default 1 MiB. */
  readonly maxOutputBytes?: number | undefined;
  /** Ends the command with all that it started. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a command to its end.
 * @throws the signal's reason once it fired; {@link PyroError} of the workspace
 */
export async function runCommand(
  pyro: Pyro,
  command: ExecWorkspaceOptions,
  { signal, ...hooks }: CommandHooks = {},
): Promise<CommandResult> {
  return await collectEvents(commandEvents(pyro, command, signal), hooks);
}

/** A command's output and its end. When the signal fires, the command is ended, and its reason thrown after that. */
export async function* commandEvents(
  pyro: Pyro,
  command: ExecWorkspaceOptions,
  signal?: AbortSignal,
): AsyncGenerator<RunEvent> {
  signal?.throwIfAborted();
  let sequence: number | undefined;
  const cancel = (): void => {
    // Where it fails the stream fails as well.
    if (sequence !== undefined)
      pyro.cancelWorkspaceCommand(command.workspaceId, sequence).catch(() => undefined);
  };
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    for await (const event of pyro.streamWorkspaceExec(command)) {
      if (event.type === "started") {
        ({ sequence } = event);
        if (signal?.aborted === true) cancel();
      } else if (event.type === "stdout" || event.type === "stderr") yield event;
      else if (event.type === "result") {
        signal?.throwIfAborted();
        const { result, interrupted } = event.result;
        if (result === null) throw lost(interrupted);
        yield { type: "result", result };
      }
    }
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

/** @throws {PyroError} CANCELLED */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  if (signal.reason instanceof PyroError) throw signal.reason;
  throw new PyroError("CANCELLED", "the caller ended this", { retryable: true, cause: signal.reason });
}

/** The exit status as a shell tells it: 124 after a timeout, 128 + n for signal n. */
export function exitStatus({ exitCode, signal, timedOut }: CommandOutcome): number {
  return commandExitCode({ exit_code: exitCode, signal, timed_out: timedOut });
}

function lost(reason: string | null): PyroError {
  return new PyroError(
    "GUEST_DISCONNECTED",
    `the command was interrupted: ${reason ?? "its machine is gone"}`,
    {
      hint: "run it again; a stopped workspace starts by itself then",
      retryable: true,
    },
  );
}
