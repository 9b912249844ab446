import { PyroError } from "../../protocol/index.js";
import type { ExecWorkspaceOptions, Pyro, WorkspaceCommandRecord } from "../../sdk/index.js";
import { exitStatus } from "./streamed-command.js";

/** The first look at a command is not cut short by an abort: one whose number nobody learned could not be ended. */
const FIRST_LOOK_MS = 300;
const TEXT = new TextDecoder();

/** How a command of a workspace ended, as function calling APIs want it. */
export interface FinishedCommand {
  readonly stdout: string;
  readonly stderr: string;
  /** 128 and its number where a signal ended it, as shells say it; null: it timed out. */
  readonly exitCode: number | null;
}

/**
 * Runs a command to its end. An abort ends it, with all that it started.
 * @throws {PyroError} CANCELLED, and what `execWorkspace` throws
 */
export async function runCommand(
  pyro: Pyro,
  options: Omit<ExecWorkspaceOptions, "stdin">,
  signal: AbortSignal | undefined,
): Promise<FinishedCommand> {
  throwIfAborted(signal);
  const started = await pyro.execWorkspace({ ...options, waitMs: FIRST_LOOK_MS });
  if (started.state === "done") return toFinished(started);
  const { workspaceId, sequence } = started;
  try {
    const wait = { workspaceId, sequence, waitMs: Number.POSITIVE_INFINITY };
    return toFinished(await pyro.logsWorkspace(wait, { signal }));
  } catch (error) {
    if (signal?.aborted === true)
      await pyro.cancelWorkspaceCommand(workspaceId, sequence).catch(() => undefined);
    throw error;
  }
}

/** @throws {PyroError} CANCELLED */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  if (signal.reason instanceof PyroError) throw signal.reason;
  throw new PyroError("CANCELLED", "the caller ended this", { retryable: true, cause: signal.reason });
}

/** A command that has ended; what was cut of its output is said in it. */
export function toFinished({ result, interrupted, output }: WorkspaceCommandRecord): FinishedCommand {
  const stdout = textOf(output?.stdout);
  const stderr = textOf(output?.stderr);
  if (result === null)
    return { stdout, stderr: `${stderr}\n[interrupted: ${interrupted ?? "unknown"}]`, exitCode: 1 };
  if (result.timedOut) return { stdout, stderr, exitCode: null };
  return { stdout, stderr, exitCode: exitStatus(result) };
}

interface Stream {
  readonly data: Uint8Array;
  readonly truncated: boolean;
  readonly totalBytes: number;
}

function textOf(stream: Stream | undefined): string {
  if (stream === undefined) return "";
  const text = TEXT.decode(stream.data);
  return stream.truncated ? `${text}\n[${stream.data.length} of ${stream.totalBytes} bytes are shown]` : text;
}
