import type { Socket } from "node:net";
import { connectUnix, within } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import { deferred, type Deferred } from "../deferred.js";
import { printable } from "../printable.js";

/** A line of QMP is far shorter; the longest of ours is a console tail in base64 (22 KiB). */
const LINE_BYTES_MAX = 1024 * 1024;

/** The QMP socket closed: QEMU ended, or gave up on us. */
export class QmpClosed extends Error {
  override readonly name = "QmpClosed";
}

export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpOptions {
  readonly onEvent?: (event: QmpEvent) => void;
}

type Message = Readonly<Record<string, unknown>>;

/**
 * A client of QEMU's machine protocol (docs/interop/qmp-spec). Answers are matched by id; a deadline ends the wait of
 * one command, not the session. Anything that is not QMP ends the session with VMM_PROTOCOL_ERROR.
 */
export class QmpClient implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #onEvent: ((event: QmpEvent) => void) | undefined;
  readonly #pending = new Map<number, Deferred<unknown>>();
  readonly #greeting = deferred<unknown>();
  readonly #closed = deferred<Error>();
  #rest: Buffer[] = [];
  #restBytes = 0;
  #nextId = 1;
  #over: Error | undefined;

  private constructor(socket: Socket, options: QmpOptions) {
    this.#socket = socket;
    this.#onEvent = options.onEvent;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", () => undefined);
    const close = (): void => this.#end(new QmpClosed("QEMU closed its QMP socket"));
    socket.on("close", close);
    // It may be closed before anybody could listen for that.
    if (socket.destroyed) close();
  }

  /**
   * Connects, waits for the greeting and enters command mode.
   * @throws the system's error where nothing listens; {PyroError} VMM_PROTOCOL_ERROR on garbage; {DeadlineError};
   *   {QmpClosed}
   */
  static async connect(
    path: string,
    options: QmpOptions & { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<QmpClient> {
    const client = new QmpClient(await connectUnix(path), options);
    try {
      // QEMU listens long before it reads: it finds this when it greets, and answers both at once.
      const ready = client.execute("qmp_capabilities", {}, options.timeoutMs);
      ready.catch(() => undefined);
      await within(client.#greeting.promise, options.timeoutMs, "QMP greeting", options.signal);
      await within(ready, options.timeoutMs, "QMP", options.signal);
      return client;
    } catch (error) {
      await client[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Resolves with the reason when the session is over. */
  get closed(): Promise<Error> {
    return this.#closed.promise;
  }

  /**
   * Runs one command and gives its `return` value.
   * @throws {PyroError} VMM_PROTOCOL_ERROR when QEMU refuses it or talks garbage; {QmpClosed}; {DeadlineError}
   */
  async execute(
    command: string,
    args: Readonly<Record<string, unknown>>,
    timeoutMs: number,
  ): Promise<unknown> {
    if (this.#over !== undefined) throw this.#over;
    const id = this.#nextId++;
    const answer = deferred<unknown>();
    this.#pending.set(id, answer);
    try {
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
      return await within(answer.promise, timeoutMs, `QMP ${command}`);
    } catch (error) {
      if (error instanceof QmpRefusal) throw protocolError(`QEMU refused ${command}: ${error.message}`);
      throw error;
    } finally {
      this.#pending.delete(id);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end(new QmpClosed("the QMP session was closed"));
    await this.#closed.promise;
  }

  #read(chunk: Buffer): void {
    let rest = chunk;
    for (
      let newline = rest.indexOf(10);
      newline >= 0 && this.#over === undefined;
      newline = rest.indexOf(10)
    ) {
      const line = Buffer.concat([...this.#rest, rest.subarray(0, newline)]);
      this.#rest = [];
      this.#restBytes = 0;
      rest = rest.subarray(newline + 1);
      // QEMU ends its lines with "\r\n".
      if (!isBlank(line)) this.#line(line);
    }
    if (rest.length === 0 || this.#over !== undefined) return;
    this.#restBytes += rest.length;
    if (this.#restBytes > LINE_BYTES_MAX) {
      this.#end(protocolError(`QEMU sent a QMP line of more than ${LINE_BYTES_MAX} bytes`));
      return;
    }
    this.#rest.push(rest);
  }

  #line(line: Buffer): void {
    const message = parse(line);
    if (message === undefined) {
      this.#end(
        protocolError(
          `QEMU's QMP socket sent something else: ${printable(line.subarray(0, 200).toString("utf8")).trim()}`,
        ),
      );
      return;
    }
    if ("QMP" in message) this.#greeting.resolve(message["QMP"]);
    else if (typeof message["event"] === "string") this.#event(message["event"], message["data"]);
    else this.#answer(message);
  }

  #event(name: string, data: unknown): void {
    this.#onEvent?.({ name, data: isRecord(data) ? data : {} });
  }

  #answer(message: Message): void {
    const pending = typeof message["id"] === "number" ? this.#pending.get(message["id"]) : undefined;
    // Late: its caller's deadline passed.
    if (pending === undefined) return;
    const error = message["error"];
    if (isRecord(error)) pending.reject(new QmpRefusal(printable(JSON.stringify(error["desc"] ?? error))));
    else pending.resolve(message["return"]);
  }

  #end(reason: Error): void {
    if (this.#over !== undefined) return;
    this.#over = reason;
    this.#socket.destroy();
    this.#greeting.reject(reason);
    for (const { reject } of this.#pending.values()) reject(reason);
    this.#closed.resolve(reason);
  }
}

class QmpRefusal extends Error {}

function parse(line: Buffer): Message | undefined {
  try {
    const value: unknown = JSON.parse(line.toString("utf8"));
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isBlank(line: Buffer): boolean {
  return line.length === 0 || (line.length === 1 && line[0] === 13);
}

function isRecord(value: unknown): value is Message {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function protocolError(message: string): PyroError {
  return new PyroError("VMM_PROTOCOL_ERROR", message, {
    hint: "is this a QEMU of a distribution? `pyro doctor` shows which one is used",
  });
}
