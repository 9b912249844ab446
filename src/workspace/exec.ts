import { shellWord } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { absolutePath, resolveCommand, type CommandRequest } from "./command-line.js";
import type { OutputListener, WorkspaceCommand } from "./workspace-command.js";
import type { Redactor, SecretEnv } from "./secrets/index.js";
import { settled } from "./wait.js";
import type { Workspace } from "./workspace.js";

/** A command for a workspace. */
export interface ExecRequest extends CommandRequest {
  /** Absolute, or below /workspace; empty: /workspace. */
  readonly cwd: string;
  readonly timeoutMs: number | undefined;
  readonly openStdin: boolean;
  /** Secrets of the workspace that it is given: {secret: variable}. */
  readonly secretEnv?: SecretEnv;
}

/**
 * Starts a command, which then runs on by itself; its output is kept. A listener hears it from the first byte, and the
 * command waits for it.
 * @throws {PyroError} what the machine's start throws; INVALID_ARGUMENT, COMMAND_NOT_FOUND and the like: the command
 *   is not recorded then
 */
export async function startCommand(
  workspace: Workspace,
  request: ExecRequest,
  options: { readonly signal: AbortSignal; readonly listener?: OutputListener },
): Promise<WorkspaceCommand> {
  const { secrets } = workspace;
  const given = secrets.environment(request.secretEnv ?? {}, request.env);
  const words = { ...request, env: [...request.env, ...given.entries] };
  // What cannot be run anywhere starts no machine; what its environment says is known once there is one.
  resolveCommand(words);
  const cwd = absolutePath(request.cwd);
  const machine = await workspace.machine(options.signal);
  const resolved = resolveCommand(words, workspace.record.config);
  const facts = {
    sequence: await workspace.nextSequence(),
    command: describe(request, secrets.redactor),
    cwd: secrets.redactor.text(cwd),
    ...(given.names.length === 0 ? {} : { secrets: given.names }),
    startedAtMs: Date.now(),
  };
  const command = await workspace.whileThere(() => workspace.commands.add(facts));
  if (options.listener !== undefined) command.listen(options.listener);
  workspace.holdSecrets(command);
  try {
    const running = await machine.start({
      ...{ ...resolved, processId: command.processId, cwd, openStdin: request.openStdin },
      ...(request.timeoutMs === undefined ? {} : { timeoutMs: request.timeoutMs }),
      // What nobody reads now is read by the next daemon.
      whenUnread: "wait",
    });
    workspace.keep(command, running, machine);
    return command;
  } catch (thrown) {
    await command.interrupt("it was not started");
    await workspace.commands.remove(command.sequence);
    // A machine that goes away with its workspace is no fault of its own.
    workspace.signal.throwIfAborted();
    throw thrown;
  }
}

/** Waits for a command's end, at most so long. */
export async function waitForCommand(
  command: WorkspaceCommand,
  waitMs: number,
  signal: AbortSignal,
): Promise<void> {
  if (command.isRunning) await settled(command.done, waitMs, signal);
}

/** Ends a command and all that it started; one that is over stays as it is. */
export async function cancelCommand(workspace: Workspace, sequence: number): Promise<WorkspaceCommand> {
  const command = workspace.commands.find(sequence);
  if (!command.isRunning) return command;
  // A machine that is about to be adopted comes first.
  await workspace.settle(LIMITS.longestWaitMs, workspace.signal);
  await workspace.runningMachine?.kill(command.processId).catch((error: unknown) => {
    // One that ends just now may be forgotten already.
    if (PyroError.from(error).code !== "PROCESS_NOT_FOUND") throw error;
  });
  await command.done;
  return command;
}

/** The command as people write it, without secrets: those are looked for before words are quoted. */
export function describe({ command, argv }: CommandRequest, redactor: Redactor): string {
  if (command !== "") return redactor.text(command);
  const words = argv.map((word) => shellWord(Buffer.from(redactor.bytes(word)).toString()));
  return redactor.text(words.join(" "));
}
