import type { MessageInitShape } from "@bufbuild/protobuf";
import { OutputPolicy, type ReadOutputResponse, type StartRequestSchema } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { checkCommand, checkPath, LIMITS, type GuestBytes } from "../protocol/index.js";
import type { GuestConnection } from "./connection.js";
import { deadlineExceeded, protocolError } from "./errors.js";

/** A command for the guest. */
export interface ProcessSpec {
  /** Chosen by the caller, unique in the machine. */
  readonly processId: string;
  readonly argv: readonly GuestBytes[];
  /** "NAME=value"; nothing is inherited. */
  readonly env?: readonly GuestBytes[];
  /** Absolute; "/" when left out. */
  readonly cwd?: GuestBytes;
  /** Makes `cwd` where it is missing. */
  readonly makeCwd?: boolean;
  /** Root when left out; else as `StartRequest.user` has it. */
  readonly user?: string;
  /** TERM to the group after this long, KILL to the tree `killGraceMs` later. */
  readonly timeoutMs?: number;
  readonly killGraceMs?: number;
  readonly openStdin?: boolean;
  /** Whether the command waits for a slow reader (the default), or its oldest unread output is dropped. */
  readonly whenUnread?: "wait" | "drop-oldest";
  /** Bound of what the agent keeps per stream; its own default when left out. */
  readonly spoolBytes?: number;
}

/**
 * What a start says on the wire.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE
 */
export function startRequest(spec: ProcessSpec): MessageInitShape<typeof StartRequestSchema> {
  return {
    processId: spec.processId,
    ...checkCommand(spec.argv, spec.env ?? []),
    cwd: checkPath(spec.cwd ?? "/", "the working directory"),
    user: spec.user ?? "",
    makeCwd: spec.makeCwd ?? false,
    timeoutMs: spec.timeoutMs ?? 0,
    killGraceMs: spec.killGraceMs ?? LIMITS.killGraceMs,
    openStdin: spec.openStdin ?? false,
    outputPolicy: spec.whenUnread === "drop-oldest" ? OutputPolicy.DROP_OLDEST : OutputPolicy.BLOCK,
    spoolBytes: spec.spoolBytes ?? 0,
  };
}

/** A command's output from its beginning, on the call that started it. */
export interface BegunOutput {
  readonly messages: AsyncIterable<ReadOutputResponse>;
  /** Ends the call, where it is not over; who reads `messages` gets the reason. */
  leave(reason: unknown): void;
}

/**
 * Starts a command and begins to read its output, in one exchange. Unread, the call holds as much of it as its credit allows.
 * @param signal ends the start and the reading; the command itself runs on
 * @throws {PyroError} as `startProcess`
 */
export async function run(
  connection: GuestConnection,
  request: MessageInitShape<typeof StartRequestSchema>,
  signal: AbortSignal | undefined,
): Promise<{ readonly pid: number; readonly begun: BegunOutput }> {
  const over = new AbortController();
  const ended = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
  const stream = connection.process.run(request, { signal: ended })[Symbol.asyncIterator]();
  // The deadline of a call is one for all of it; only the start is waited for so long.
  const timer = setTimeout(() => over.abort(deadlineExceeded()), LIMITS.agentCallTimeoutMs);
  try {
    const first = await stream.next();
    if (first.done === true || first.value.event.case !== "started") {
      over.abort();
      throw protocolError("an answer to Run that does not begin with the start");
    }
    const { pid } = first.value.event.value;
    const messages = { [Symbol.asyncIterator]: () => stream };
    return { pid, begun: { messages, leave: (reason) => over.abort(reason) } };
  } finally {
    clearTimeout(timer);
  }
}
