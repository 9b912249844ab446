import { untilAborted } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import type { WorkspaceCommand } from "./workspace-command.js";

type Stream = "stdout" | "stderr";
const STREAMS: readonly Stream[] = ["stdout", "stderr"];

/** Takes a command's output; more comes when it resolves. */
export interface TailSink {
  take(stream: Stream, data: Uint8Array): Promise<void>;
  /** Bytes right before the next ones of the stream that were not kept. */
  skip(stream: Stream, bytes: number): Promise<void>;
}

/**
 * What a command wrote from a position on, and then what it writes, to its end: each byte once, each stream in order. All of
 * it comes from what is kept, so that it does not matter which daemon took it in. The command waits for the sink.
 */
export async function tailCommand(
  command: WorkspaceCommand,
  from: Readonly<Record<Stream, number>>,
  sink: TailSink,
  signal: AbortSignal,
): Promise<void> {
  const sent = { ...from };
  const catchUp = async (streams: readonly Stream[]): Promise<void> => {
    for (const stream of streams) {
      while (!signal.aborted) {
        const part = await command.output.readOn(stream, sent[stream], LIMITS.bulkChunkBytes);
        if (part.data.length === 0) break;
        if (part.skippedBytes > 0) await sink.skip(stream, part.skippedBytes);
        await sink.take(stream, part.data);
        sent[stream] += part.skippedBytes + part.data.length;
      }
    }
  };
  let turn = Promise.resolve();
  const inTurn = (streams: readonly Stream[]): Promise<void> => (turn = turn.then(() => catchUp(streams)));
  // A reader that fails is told by its own turn; the command must not fail with it.
  using _listening = command.listen((stream) => inTurn([stream]).catch(() => undefined));
  await inTurn(STREAMS);
  await untilAborted(command.done, signal);
  await inTurn(STREAMS);
}
