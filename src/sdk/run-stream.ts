import type { MessageInitShape } from "@bufbuild/protobuf";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { RunRequestSchema, RunResponse, RunSpec } from "../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import { unreachable, type CallScope } from "./call.js";
import type { Connection } from "./connection.js";
import { Outbox } from "./outbox.js";
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

type Request = MessageInitShape<typeof RunRequestSchema>;

/** The request side of one run: start, then standard input and signals. */
export class RunRequests {
  readonly #outbox = new Outbox<Request>();
  #sentBytes = 0;
  #acceptedBytes = 0;
  #onAccepted: () => void = () => undefined;

  /** Sends a signal, for example "SIGINT", to the command's process group. */
  signal(name: string): Promise<void> {
    return this.#outbox.put({ request: { case: "signal", value: name } });
  }

  /** The events of the run. Leaving the iteration ends the command and its VM. */
  async *events(connection: Connection, spec: RunSpec, input: RunInput | undefined, scope: CallScope) {
    void this.#outbox.put({ request: { case: "start", value: { spec, openStdin: input !== undefined } } });
    const responses = connection.run.run(this.#outbox, { signal: scope.signal });
    let started = false;
    let settled = false;
    try {
      for await (const response of responses) {
        if (!started && input !== undefined) void this.#pump(input, scope);
        started = true;
        if (response.event.case === "stdinAccepted") this.#accept(Number(response.event.value));
        const event = toEvent(response);
        if (event === undefined) continue;
        settled = event.type === "result";
        yield event;
        if (settled) return;
      }
      settled = true;
    } catch (error) {
      settled = true;
      throw error;
    } finally {
      this.#outbox.end();
      this.#accept(Number.MAX_SAFE_INTEGER);
      // The consumer left early: the daemon sees the stream go and ends the VM.
      if (!settled)
        scope.abort(new PyroError("CANCELLED", "the run was left before its end", { retryable: true }));
    }
    throw unreachable(new Error("the daemon ended the stream without a result"));
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
