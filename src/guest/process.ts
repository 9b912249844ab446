import type { Client } from "@connectrpc/connect";
import type { ProcessService, ReadOutputResponse } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { PyroError } from "../protocol/index.js";
import type { GuestConnection } from "./connection.js";
import { disconnected, protocolError } from "./errors.js";
import { run, startRequest, type BegunOutput, type ProcessSpec } from "./start.js";
import type { ProcessExit } from "./exit-status.js";
import { InputWriter } from "./input.js";
import { OutputCursor, type OutputPiece, type OutputPosition } from "./output.js";

export type { ProcessSpec };

export interface StartOptions {
  /** A new connection after the old one was lost; without it a loss ends the output with GUEST_DISCONNECTED. */
  readonly reconnect?: (signal?: AbortSignal) => Promise<GuestConnection>;
  /** Ends the start and the reading of output; the command itself runs on. */
  readonly signal?: AbortSignal;
}

/** A command in the guest. Disposing of it kills its whole tree and makes the agent forget it. */
export interface GuestProcess extends AsyncDisposable {
  readonly processId: string;
  readonly pid: number;
  /** In order of arrival, to be read once and to its end; goes on by offset over a reconnect. */
  readonly output: AsyncIterable<OutputPiece>;
  /** Resolves when `output` was read to its end; rejects with what ended it otherwise. */
  readonly exit: Promise<ProcessExit>;
  /** Resolves when there is room for more; false when the command takes no more. */
  writeInput(data: Uint8Array): Promise<boolean>;
  endInput(): Promise<void>;
  /** To the process group, or with `wholeTree` to all that the command started. */
  signal(name: string, options?: { readonly wholeTree?: boolean }): Promise<void>;
}

/** Connections in a row that break before they bring anything new. */
const MAX_FRUITLESS_RECONNECTS = 5;

/**
 * Starts a command.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE before anything is sent; COMMAND_NOT_FOUND and the like as
 *   the agent says them; GUEST_DISCONNECTED, GUEST_PROTOCOL_ERROR
 */
export async function startProcess(
  connection: GuestConnection,
  spec: ProcessSpec,
  options: StartOptions = {},
): Promise<GuestProcess> {
  const request = startRequest(spec);
  if (connection.hello.capabilities.includes("run")) {
    const { pid, begun } = await run(connection, request, options.signal);
    return new RunningProcess(connection, spec, pid, { ...options, begun });
  }
  const { pid } = await connection.control.start(request, callOptions(options.signal));
  return new RunningProcess(connection, spec, pid, options);
}

/**
 * A command that was started before, by this host process or an earlier one; its output from a position on.
 * @throws {PyroError} PROCESS_NOT_FOUND, GUEST_DISCONNECTED, GUEST_PROTOCOL_ERROR
 */
export async function followProcess(
  connection: GuestConnection,
  processId: string,
  from: OutputPosition,
  options: StartOptions = {},
): Promise<GuestProcess> {
  const { process } = await connection.control.get({ processId }, callOptions(options.signal));
  if (process === undefined) throw protocolError("an answer to Get without a process");
  // What was sent before cannot be known: its input is left as it is.
  return new RunningProcess(connection, { processId, argv: [] }, process.pid, options, from);
}

function callOptions(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

class RunningProcess implements GuestProcess {
  readonly processId: string;
  readonly pid: number;
  readonly output: AsyncIterable<OutputPiece>;
  readonly exit: Promise<ProcessExit>;
  #connection: GuestConnection;
  #reconnecting: Promise<GuestConnection> | undefined;
  readonly #options: StartOptions;
  readonly #input: InputWriter;
  readonly #over = new AbortController();
  /** What came along with the start; read first, on the connection of the start alone. */
  #begun: BegunOutput | undefined;
  #disposing: Promise<void> | undefined;
  #resolveExit: (exit: ProcessExit) => void = () => undefined;
  #rejectExit: (error: unknown) => void = () => undefined;

  constructor(
    connection: GuestConnection,
    spec: ProcessSpec,
    pid: number,
    { begun, ...options }: StartOptions & { readonly begun?: BegunOutput },
    from?: OutputPosition,
  ) {
    this.processId = spec.processId;
    this.pid = pid;
    this.#connection = connection;
    this.#options = options;
    this.#begun = begun;
    this.exit = new Promise((resolve, reject) => {
      this.#resolveExit = resolve;
      this.#rejectExit = reject;
    });
    // Whoever reads the output meets the error there.
    this.exit.catch(() => undefined);
    this.output = this.#read(new OutputCursor(from));
    this.#input = new InputWriter(
      spec.processId,
      (messages) => this.#connection.process.writeInput(messages, { signal: this.#over.signal }),
      spec.openStdin ?? false,
    );
  }

  writeInput(data: Uint8Array): Promise<boolean> {
    return this.#input.write(data);
  }

  endInput(): Promise<void> {
    return this.#input.end();
  }

  async signal(name: string, { wholeTree = false }: { readonly wholeTree?: boolean } = {}): Promise<void> {
    await this.#control((control) => control.signal({ processId: this.processId, signal: name, wholeTree }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposing ??= this.#dispose();
    return this.#disposing;
  }

  async #dispose(): Promise<void> {
    this.#over.abort(new PyroError("CANCELLED", `the process ${this.processId} was disposed of`));
    this.#begun?.leave(this.#over.signal.reason);
    this.#rejectExit(this.#over.signal.reason);
    try {
      await this.#connection.control.remove({ processId: this.processId });
    } catch (error) {
      // With the machine or the process gone there is nothing left to remove.
      const code = PyroError.from(error).code;
      if (code !== "GUEST_DISCONNECTED" && code !== "PROCESS_NOT_FOUND") throw error;
    }
  }

  /** A small call that is safe to repeat, once more on a new connection where the old one was lost. */
  async #control(call: (control: Client<typeof ProcessService>) => Promise<unknown>): Promise<void> {
    try {
      await call(this.#connection.control);
    } catch (error) {
      if (!this.#mayReconnect(error)) throw error;
      await this.#reconnect();
      await call(this.#connection.control);
    }
  }

  #mayReconnect(error: unknown): boolean {
    const lost = error instanceof PyroError && error.code === "GUEST_DISCONNECTED";
    return lost && this.#options.reconnect !== undefined && !this.#over.signal.aborted;
  }

  /** One reconnect at a time, whoever asks for it. */
  async #reconnect(): Promise<void> {
    const { reconnect, signal } = this.#options;
    if (reconnect === undefined) throw disconnected();
    this.#reconnecting ??= reconnect(signal).finally(() => (this.#reconnecting = undefined));
    this.#connection = await this.#reconnecting;
  }

  async *#read(cursor: OutputCursor): AsyncGenerator<OutputPiece> {
    try {
      const exit = yield* this.#readOverReconnects(cursor);
      this.#resolveExit(exit);
    } catch (error) {
      this.#rejectExit(error);
      throw error;
    } finally {
      // A reader that leaves early never learns of the exit.
      this.#rejectExit(new PyroError("CANCELLED", "the output was not read to its end"));
    }
  }

  async *#readOverReconnects(cursor: OutputCursor): AsyncGenerator<OutputPiece, ProcessExit> {
    for (let fruitless = 0; ; ) {
      const before = cursor.progress;
      try {
        return yield* this.#readOnce(cursor);
      } catch (error) {
        fruitless = cursor.progress > before ? 0 : fruitless + 1;
        if (!this.#mayReconnect(error) || fruitless > MAX_FRUITLESS_RECONNECTS) throw error;
        await this.#reconnect();
      }
    }
  }

  async *#readOnce(cursor: OutputCursor): AsyncGenerator<OutputPiece, ProcessExit> {
    for await (const message of this.#messages(cursor)) {
      const { piece, exit } = cursor.take(message);
      // What a lying agent sends after the exit is not even read: leaving the loop ends the call.
      if (exit !== undefined) return exit;
      if (piece !== undefined) yield piece;
    }
    throw protocolError(`the output of ${this.processId} ended without an exit`);
  }

  #messages({ stdoutOffset, stderrOffset }: OutputCursor): AsyncIterable<ReadOutputResponse> {
    const begun = this.#begun;
    this.#begun = undefined;
    if (begun !== undefined) {
      this.#over.signal.addEventListener("abort", () => begun.leave(this.#over.signal.reason), { once: true });
      return begun.messages;
    }
    const { signal } = this.#options;
    const ended = signal === undefined ? this.#over.signal : AbortSignal.any([signal, this.#over.signal]);
    const request = { processId: this.processId, stdoutOffset, stderrOffset };
    return this.#connection.process.readOutput(request, { signal: ended });
  }
}
