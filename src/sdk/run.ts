import { LIMITS, PyroError } from "../protocol/index.js";
import { CollectedOutput } from "./collected-output.js";
import type { CallOptions } from "./call.js";
import type { DaemonClient } from "./daemon-client.js";
import { toRunSpec, type RunInVmOptions } from "./run-options.js";
import type { CommandOutcome, CommandResult } from "./run-result.js";
import { RunRequests, type RunEvent, type RunInput, type RunPhase } from "./run-stream.js";

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
  const bound = options.maxOutputBytes ?? LIMITS.collectedOutputBytes;
  const stdout = new CollectedOutput(bound);
  const stderr = new CollectedOutput(bound);
  for await (const event of streamRun(client, options, call)) {
    switch (event.type) {
      case "stdout":
        stdout.add(event.data);
        await options.onStdout?.(event.data);
        break;
      case "stderr":
        stderr.add(event.data);
        await options.onStderr?.(event.data);
        break;
      case "phase":
        options.onPhase?.(event);
        break;
      case "result":
        return withOutput(event.result, stdout, stderr);
    }
  }
  throw new PyroError("INTERNAL", "the run ended without a result");
}

function withOutput(outcome: CommandOutcome, stdout: CollectedOutput, stderr: CollectedOutput): CommandResult {
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
  let requests: RunRequests | undefined;
  return {
    signal: async (name) => await requests?.signal(name),
    [Symbol.asyncIterator]: () =>
      client.stream("the run", call, (connection, scope) => {
        requests = new RunRequests();
        return requests.events(connection, spec, options.stdin, scope);
      }),
  };
}
