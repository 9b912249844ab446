import { OutputStream, type OutputChunk, type ReadOutputResponse } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { protocolError } from "./errors.js";
import { toProcessExit, type ProcessExit } from "./exit-status.js";

/** A piece of a command's output, in order of arrival. */
export interface OutputPiece {
  readonly stream: "stdout" | "stderr";
  readonly data: Uint8Array;
  /** Of the first byte of `data`, in its stream. */
  readonly offset: number;
  /** Bytes right before `data` that were dropped, because nobody had read them. */
  readonly droppedBefore: number;
}

/** How much of each stream was read. */
export interface OutputPosition {
  readonly stdout: number;
  readonly stderr: number;
}

/** Messages in a row that carry nothing; an honest agent sends none. */
const MAX_EMPTY_MESSAGES = 1_000;

/** Where the reading of a command's output stands; it outlives connections. */
export class OutputCursor {
  readonly #counted: Record<"stdout" | "stderr", { end: number; dropped: number }>;
  #empty = 0;

  /** `from`: what was read before, by whoever. */
  constructor(from: OutputPosition = { stdout: 0, stderr: 0 }) {
    this.#counted = {
      stdout: { end: from.stdout, dropped: 0 },
      stderr: { end: from.stderr, dropped: 0 },
    };
  }

  get stdoutOffset(): bigint {
    return BigInt(this.#counted.stdout.end);
  }

  get stderrOffset(): bigint {
    return BigInt(this.#counted.stderr.end);
  }

  /** Bytes seen so far: whether a connection brought anything. */
  get progress(): number {
    return this.#counted.stdout.end + this.#counted.stderr.end;
  }

  /**
   * What a message of the agent means: a new piece, the end, or nothing.
   * @throws {PyroError} GUEST_PROTOCOL_ERROR
   */
  take(message: ReadOutputResponse): { readonly piece?: OutputPiece; readonly exit?: ProcessExit } {
    if (message.event.case === "exit") {
      return { exit: toProcessExit(message.event.value, this.#counted.stdout, this.#counted.stderr) };
    }
    const piece = message.event.case === "chunk" ? this.#takeChunk(message.event.value) : undefined;
    if (piece !== undefined) {
      this.#empty = 0;
      return { piece };
    }
    this.#empty += 1;
    if (this.#empty > MAX_EMPTY_MESSAGES) throw protocolError(`${MAX_EMPTY_MESSAGES} output messages without output`);
    return {};
  }

  #takeChunk({ stream: number, offset, data }: OutputChunk): OutputPiece | undefined {
    const stream = streamName(number);
    const counted = this.#counted[stream];
    const end = offset + BigInt(data.length);
    if (end > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolError(`output at the offset ${offset}`);
    const begin = Number(offset);
    // What was read before comes again after some reconnects.
    const known = Math.max(0, counted.end - begin);
    if (known >= data.length) return undefined;
    const droppedBefore = Math.max(0, begin - counted.end);
    counted.end = Number(end);
    counted.dropped += droppedBefore;
    return { stream, data: known === 0 ? data : data.subarray(known), offset: begin + known, droppedBefore };
  }
}

function streamName(stream: OutputStream): "stdout" | "stderr" {
  switch (stream) {
    case OutputStream.STDOUT:
      return "stdout";
    case OutputStream.STDERR:
      return "stderr";
    case OutputStream.UNSPECIFIED:
    default:
      throw protocolError(`output on the unknown stream ${stream}`);
  }
}
