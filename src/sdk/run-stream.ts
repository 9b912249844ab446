import { LIMITS, PyroError } from "../protocol/index.js";
import type { RunResponse } from "../protocol/gen/pyro/daemon/v1/run_pb.js";
import { unreachable, type CallScope } from "./call.js";
import { Outbox } from "./outbox.js";
import type { RunSpecInit } from "./run-options.js";
import type { ServiceClient } from "./services.js";
import { toOutcome, type CommandOutcome } from "./run-result.js";

/** Standard input of a command; leaving it out gives the command an empty one. */
export type RunInput = AsyncIterable<Uint8Array | string> | Iterable<Uint8Array> | Uint8Array | string;

/** What happens while a run goes on. */
export interface RunPhase {
  readonly phase: "queued" | "pulling" | "booting" | "running";
  readonly message: string;
  /** 0 to 1, or null where it is not known. */
  readonly progress: number | null;
}

/** Events of a run, in order; `result` is always the last. */
export type RunEvent =
  | ({ readonly type: "phase" } & RunPhase)
  | { readonly type: "stdout"; readonly data: Uint8Array }
  | { readonly type: "stderr"; readonly data: Uint8Array }
  | { readonly type: "result"; readonly result: CommandOutcome };

/** The requests that a command takes once it was started: the same on every stream of one. */
type CommandInput =
  | { readonly case: "stdin"; readonly value: Uint8Array }
  | { readonly case: "stdinEnd"; readonly value: boolean }
  | { readonly case: "signal"; readonly value: string };

/** A stream of a command: how it is opened, and what its answers mean. */
export interface CommandProtocol<Start, Response, Event> {
  readonly start: Start;
  readonly open: (
    requests: AsyncIterable<{ request: Start | CommandInput }>,
    signal: AbortSignal,
  ) => AsyncIterable<Response>;
  /** Undefined for what only concerns the stream itself. */
  readonly toEvent: (response: Response) => Event | undefined;
  /** Standard input that the command took so far; undefined where this answer does not say. */
  readonly accepted: (response: Response) => bigint | undefined;
  readonly isResult: (event: Event) => boolean;
}

/** The request side of one command: start, then standard input and signals. */
export class CommandStream<Start, Response, Event> {
  readonly #outbox = new Outbox<{ request: Start | CommandInput }>();
  #sentBytes = 0;
  #acceptedBytes = 0;
  #lostInput = false;
  #onAccepted: () => void = () => undefined;

  constructor(private readonly protocol: CommandProtocol<Start, Response, Event>) {}

  /** Whether it ended with input of which nobody knows how much the command has. */
  get lostInput(): boolean {
    return this.#lostInput;
  }

  /** Sends a signal, for example "SIGINT", to the command's process group. */
  signal(name: string): Promise<void> {
    return this.#outbox.put({ request: { case: "signal", value: name } });
  }

  /** What happens, to the result. Who leaves the iteration ends the call, by its scope. */
  async *events(input: RunInput | undefined, scope: CallScope): AsyncGenerator<Event> {
    const { start, open, toEvent, accepted, isResult } = this.protocol;
    void this.#outbox.put({ request: start });
    let started = false;
    let result: Event | undefined;
    try {
      for await (const response of open(this.#outbox, scope.signal)) {
        if (!started && input !== undefined) void this.#pump(input, scope);
        started = true;
        const acceptedBytes = accepted(response);
        if (acceptedBytes !== undefined) this.#accept(Number(acceptedBytes));
        const event = toEvent(response);
        if (event === undefined || result !== undefined) continue;
        if (isResult(event)) {
          // It is read to its end, as `resultOf` says.
          result = event;
          this.#outbox.end();
        } else yield event;
      }
    } catch (error) {
      if (result === undefined) throw error;
    } finally {
      this.#outbox.end();
      this.#lostInput = this.#sentBytes > this.#acceptedBytes;
      this.#accept(Number.MAX_SAFE_INTEGER);
    }
    if (result === undefined) throw unreachable(new Error("the daemon ended the stream without a result"));
    yield result;
  }

  #accept(totalBytes: number): void {
    this.#acceptedBytes = Math.max(this.#acceptedBytes, totalBytes);
    this.#onAccepted();
  }

  /** Waits until the command took enough of what was sent: a signal must never wait behind input that nobody reads. */
  async #credit(bytes: number): Promise<void> {
    while (this.#sentBytes + bytes > this.#acceptedBytes + LIMITS.stdinAheadBytes) {
      await new Promise<void>((resolve) => (this.#onAccepted = resolve));
    }
    this.#sentBytes += bytes;
  }

  async #pump(input: RunInput, scope: CallScope): Promise<void> {
    try {
      for await (const chunk of chunksOf(input)) {
        for (let offset = 0; offset < chunk.length; offset += LIMITS.bulkChunkBytes) {
          if (scope.signal.aborted) return;
          const value = chunk.subarray(offset, offset + LIMITS.bulkChunkBytes);
          await this.#credit(value.length);
          await this.#outbox.put({ request: { case: "stdin", value } });
        }
      }
      await this.#outbox.put({ request: { case: "stdinEnd", value: true } });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      scope.abort(
        new PyroError("INVALID_ARGUMENT", `reading standard input failed: ${reason}`, { cause: error }),
      );
    }
  }
}

async function* chunksOf(input: RunInput): AsyncIterable<Uint8Array> {
  if (typeof input === "string") yield Buffer.from(input);
  else if (input instanceof Uint8Array) yield input;
  else for await (const chunk of input) yield typeof chunk === "string" ? Buffer.from(chunk) : chunk;
}

const PHASES: readonly string[] = ["queued", "pulling", "booting", "running"];

/** One-shots: leaving the stream ends the command and its VM. */
export function runProtocol(run: ServiceClient<"run">, spec: RunSpecInit, openStdin: boolean) {
  return {
    start: { case: "start", value: { spec, openStdin } },
    open: (requests, signal) => run.run(requests, { signal }),
    toEvent,
    accepted: ({ event }) => (event.case === "stdinAccepted" ? event.value : undefined),
    isResult: ({ type }) => type === "result",
  } satisfies CommandProtocol<RunStart, RunResponse, RunEvent>;
}

type RunStart = {
  readonly case: "start";
  readonly value: { readonly spec: RunSpecInit; readonly openStdin: boolean };
};

function toEvent(response: RunResponse): RunEvent | undefined {
  const { event } = response;
  switch (event.case) {
    case "stdout":
    case "stderr":
      return { type: event.case, data: event.value };
    case "result":
      return { type: "result", result: toOutcome(event.value) };
    case "phase":
      return { type: "phase", ...toPhase(event.value) };
    case "stdinAccepted":
    case undefined:
      return undefined;
  }
}

/** A phase as the daemon sent it; one that this version does not know counts as booting. */
export function toPhase(phase: { phase: string; message: string; progress: number }): RunPhase {
  return {
    phase: (PHASES.includes(phase.phase) ? phase.phase : "booting") as RunPhase["phase"],
    message: phase.message,
    progress: phase.progress >= 0 && phase.progress <= 1 ? phase.progress : null,
  };
}
