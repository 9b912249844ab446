import { sleep } from "../kit/index.js";
import type { ErrorCode } from "../protocol/index.js";
import { wireError, type CallOptions } from "./call.js";
import type { DaemonClient } from "./daemon-client.js";
import { CommandStream } from "./run-stream.js";
import {
  attachProtocol,
  execProtocol,
  toCommandSpec,
  type ExecEvent,
  type ExecStream,
  type ExecWorkspaceOptions,
} from "./workspace-exec.js";

/** Daemons in a row that are lost before they bring anything new. */
const FRUITLESS_MAX = 5;
/** Before the next try; twice as long each time. */
const FIRST_PAUSE_MS = 50;
const LOST: readonly ErrorCode[] = ["DAEMON_UNREACHABLE", "DAEMON_STOPPING"];

/**
 * A command with its output as it comes. A daemon that is lost meanwhile is replaced, and what the command wrote is read on
 * where the last one stopped: each byte comes once. Where input was on its way to the command, nobody knows how much of it
 * arrived: then the loss is the stream's error.
 */
export function execStream(
  client: DaemonClient,
  options: ExecWorkspaceOptions,
  call: CallOptions,
): ExecStream {
  const spec = toCommandSpec(options);
  let stream: { signal(name: string): Promise<void>; readonly lostInput: boolean } | undefined;
  let sequence: number | undefined;
  const seen = { stdout: 0, stderr: 0 };
  /** Starts the command, or goes on with it. */
  const open = (left: CallOptions): AsyncIterable<ExecEvent> =>
    client.stream("workspace", "the command", left, (workspace, scope) => {
      if (sequence === undefined) {
        const starting = new CommandStream(execProtocol(workspace, spec, options.stdin !== undefined));
        stream = starting;
        return starting.events(options.stdin, scope);
      }
      const from = { stdoutOffset: BigInt(seen.stdout), stderrOffset: BigInt(seen.stderr) };
      const place = { workspace: options.workspaceId, sequence, ...from };
      const going = new CommandStream(attachProtocol(workspace, place));
      stream = going;
      return going.events(undefined, scope);
    });
  async function* events(): AsyncGenerator<ExecEvent> {
    const left = leftOf(call);
    for (let fruitless = 0; ; fruitless++) {
      try {
        for await (const event of open(left())) {
          if (event.type === "started" && sequence !== undefined) continue;
          if (event.type === "started") ({ sequence } = event);
          if (event.type === "stdout" || event.type === "stderr") seen[event.type] += event.data.length;
          if (event.type === "skipped") seen[event.stream] += event.bytes;
          if (event.type !== "started") fruitless = 0;
          yield event;
        }
        return;
      } catch (thrown) {
        const error = wireError(thrown);
        const isOver = !LOST.includes(error.code) || sequence === undefined || stream?.lostInput === true;
        if (isOver || fruitless >= FRUITLESS_MAX) throw error;
        yield { type: "reconnecting", error };
        await sleep(FIRST_PAUSE_MS * 2 ** fruitless, call.signal);
      }
    }
  }
  return {
    signal: async (name) => await stream?.signal(name),
    [Symbol.asyncIterator]: () => events(),
  };
}

/** The options of each part of a call whose time is bounded as a whole. */
function leftOf({ timeoutMs, ...rest }: CallOptions): () => CallOptions {
  if (timeoutMs === undefined) return () => rest;
  const end = performance.now() + timeoutMs;
  return () => ({ ...rest, timeoutMs: Math.max(0, end - performance.now()) });
}
