import { LIMITS, PyroError } from "../protocol/index.js";
import { CollectedOutput } from "./collected-output.js";
import type { CallOptions } from "./call.js";
import type { DaemonClient } from "./daemon-client.js";
import { toRunSpec, type RunInVmOptions } from "./run-options.js";
import type { CommandOutcome, CommandResult } from "./run-result.js";
import { CommandStream, runProtocol, type RunEvent, type RunInput, type RunPhase } from "./run-stream.js";

/** A run whose result is collected. */
export interface CollectedRunOptions extends RunInVmOptions {
  readonly stdin?: RunInput | undefined;
  /** Each chunk as it comes; the command waits while a returned promise is pending. */
  readonly onStdout?: ((data: Uint8Array) => void | Promise<void>) | undefined;
  readonly onStderr?: ((data: Uint8Array) => void | Promise<void>) | undefined;
  readonly onPhase?: ((phase: RunPhase) => void) | undefined;
  /** Kept of each stream, head and tail half each; default 1 MiB. */
  readonly maxOutputBytes?: number | undefined;
}

/** A run whose output is read as it comes. Iterate it once; leaving the iteration ends the command and its VM. */
export interface RunStream extends AsyncIterable<RunEvent> {
  /** Sends a signal, for example "SIGINT", to the command's process group. */
  signal(name: string): Promise<void>;
}

/** Runs to the end and collects what was written. */
export async function collectRun(
  client: DaemonClient,
  options: CollectedRunOptions,
  call: CallOptions,
): Promise<CommandResult> {
  return await collectEvents(streamRun(client, options, call), options);
}

/** Takes a run's events to its end; output beyond the bound is counted, not kept. */
export async function collectEvents(
  events: AsyncIterable<RunEvent>,
  hooks: Pick<CollectedRunOptions, "onStdout" | "onStderr" | "onPhase" | "maxOutputBytes">,
): Promise<CommandResult> {
  const bound = hooks.maxOutputBytes ?? LIMITS.collectedOutputBytes;
  const stdout = new CollectedOutput(bound);
  const stderr = new CollectedOutput(bound);
  for await (const event of events) {
    switch (event.type) {
      case "stdout":
        stdout.add(event.data);
        await hooks.onStdout?.(event.data);
        break;
      case "stderr":
        stderr.add(event.data);
        await hooks.onStderr?.(event.data);
        break;
      case "phase":
        hooks.onPhase?.(event);
        break;
      case "result":
        return withOutput(event.result, stdout, stderr);
    }
  }
  throw new PyroError("INTERNAL", "the run ended without a result");
}

function withOutput(
  outcome: CommandOutcome,
  stdout: CollectedOutput,
  stderr: CollectedOutput,
): CommandResult {
  const out = stdout.finish();
  const err = stderr.finish();
  return {
    ...outcome,
    stdout: out.text,
    stderr: err.text,
    stdoutTruncated: out.truncated,
    stderrTruncated: err.truncated,
    stdoutBytes: out.totalBytes,
    stderrBytes: err.totalBytes,
  };
}

/** Runs and hands over the events, one at a time: the command waits for its reader. */
export function streamRun(
  client: DaemonClient,
  options: RunInVmOptions & { readonly stdin?: RunInput | undefined },
  call: CallOptions,
): RunStream {
  const spec = toRunSpec(options);
  let signal: ((name: string) => Promise<void>) | undefined;
  return {
    signal: async (name) => await signal?.(name),
    [Symbol.asyncIterator]: () =>
      client.stream("run", "the run", call, (run, scope) => {
        const stream = new CommandStream(runProtocol(run, spec, options.stdin !== undefined));
        signal = (name) => stream.signal(name);
        return stream.events(options.stdin, scope);
      }),
  };
}
