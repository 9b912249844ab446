import { untilAborted } from "../kit/index.js";
import type { PyroError } from "../protocol/index.js";
import type { CommandRequest } from "./command-line.js";
import { explainLoss } from "./loss.js";
import { checkGiven, resolveOneShot } from "./one-shot-command.js";
import type { CommandExit, Phase, RunningCommand, SandboxFactory, SandboxRequest } from "./sandbox.js";

/** One command in one fresh machine: without one, what the environment itself runs. */
export interface OneShotSpec extends SandboxRequest, CommandRequest {
  readonly timeoutMs: number | undefined;
  /** Bounds the machine's life from the command's start on. */
  readonly ttlMs: number | undefined;
}

export interface OneShotResult extends CommandExit {
  readonly isolation: "kvm" | "software";
  readonly guestKernel: string;
  readonly startupUs: number;
}

/** Who takes the output of a one-shot, and feeds it. */
export interface OneShotCaller {
  readonly onPhase: (phase: Phase) => void;
  /** Takes a chunk; the command's next output waits until it resolves. */
  readonly onOutput: (stream: "stdout" | "stderr", data: Uint8Array) => Promise<void>;
  /** The running command, for input and signals. */
  readonly onStarted?: (command: RunningCommand) => void;
  readonly openStdin: boolean;
  readonly whenUnread: "wait" | "drop-oldest";
}

/**
 * Runs the command to its end. Whatever happens - result, error, abort - the machine is gone when this settles.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE, COMMAND_REQUIRED before any machine; what the factory throws; VM_CRASHED and its like when the machine is lost; the signal's reason
 */
export async function runOneShot(
  factory: SandboxFactory,
  spec: OneShotSpec,
  caller: OneShotCaller,
  signal: AbortSignal,
): Promise<OneShotResult> {
  checkGiven(spec);
  await using sandbox = await factory.open(spec, {
    signal,
    onPhase: caller.onPhase,
    onEnvironment: (config) => void resolveOneShot(spec, config),
  });
  const timeoutMs = shortest(spec.timeoutMs, spec.ttlMs);
  const starting = sandbox.start({
    ...resolveOneShot(spec, sandbox.config),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    openStdin: caller.openStdin,
    whenUnread: caller.whenUnread,
  });
  const command = await raceLoss(starting, sandbox.lost, signal);
  caller.onPhase({ phase: "running", message: "the command runs" });
  caller.onStarted?.(command);
  const exit = await raceLoss(copyOutput(command, caller), sandbox.lost, signal);
  const { isolation, guestKernel, startupUs } = sandbox;
  return { ...exit, isolation, guestKernel, startupUs };
}

async function copyOutput(command: RunningCommand, caller: OneShotCaller): Promise<CommandExit> {
  for await (const { stream, data } of command.output) await caller.onOutput(stream, data);
  return await command.exit;
}

/** The work, unless the machine is lost or the caller leaves first. */
async function raceLoss<T>(work: Promise<T>, lost: Promise<PyroError>, signal: AbortSignal): Promise<T> {
  const explained = work.catch(async (error: unknown) => {
    throw await explainLoss(error, lost);
  });
  // Whoever loses the race may reject later, when nobody listens any more.
  explained.catch(() => undefined);
  const failed = lost.then((error) => {
    throw error;
  });
  failed.catch(() => undefined);
  return await untilAborted(Promise.race([explained, failed]), signal);
}

function shortest(...bounds: (number | undefined)[]): number | undefined {
  const given = bounds.filter((bound) => bound !== undefined && bound > 0) as number[];
  return given.length === 0 ? undefined : Math.min(...given);
}
