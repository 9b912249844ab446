import { directoriesFor, sleep, thisBuild, untilAborted } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { StatusResponse } from "../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import { callScope, wireError, type CallOptions, type CallScope } from "./call.js";
import type { Connection } from "./connection.js";
import { socketPathOf } from "./daemon-files.js";
import {
  isListening,
  ownDaemonProgram,
  startDaemon,
  tryConnect,
  type DaemonProgram,
} from "./daemon-start.js";
import { readAhead, type ServiceClient, type ServiceName } from "./services.js";
import { prepareStateDirectory } from "./state-directory.js";

export interface DaemonClientOptions {
  /** Default: the user's own state directory. */
  readonly stateDir?: string | undefined;
  /** Default: the daemon of this build. */
  readonly daemonProgram?: DaemonProgram | undefined;
  /** Hears of what is not an error, such as a daemon of another version. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

const HANDOVER_MS = 10_000;
const POLL_MS = 20;

/** Finds the daemon of one state directory, starts it on demand, and carries calls to it. */
export class DaemonClient implements AsyncDisposable {
  readonly stateDir: string;
  readonly #options: DaemonClientOptions;
  readonly #buildId = thisBuild().buildId;
  #connection: Promise<Connection> | undefined;
  readonly #closing = new AbortController();

  constructor(options: DaemonClientOptions) {
    this.#options = options;
    this.stateDir = directoriesFor(options.stateDir).state;
  }

  /**
   * Runs one call of a service of a daemon that answers.
   * @throws {PyroError} the daemon's own errors; DAEMON_UNREACHABLE, DAEMON_START_FAILED, STATE_NOT_PRIVATE, …
   */
  async call<Name extends ServiceName, T>(
    name: Name,
    what: string,
    options: CallOptions,
    body: (service: ServiceClient<Name>, scope: CallScope) => Promise<T>,
  ): Promise<T> {
    for await (const result of this.stream(name, what, options, async function* (service, scope) {
      yield await body(service, scope);
    })) {
      return result;
    }
    throw new PyroError("INTERNAL", `${what} gave no result`);
  }

  /**
   * The items of one streaming call, each asked for only when the last was taken. A call that meets a daemon which is
   * just leaving is carried to the next one: such a daemon has done nothing for it.
   * @throws {PyroError} as `call`
   */
  async *stream<Name extends ServiceName, T>(
    name: Name,
    what: string,
    options: CallOptions,
    body: (service: ServiceClient<Name>, scope: CallScope) => AsyncIterable<T>,
  ): AsyncGenerator<T, void, undefined> {
    readAhead(name);
    using scope = callScope(what, options);
    for (let attempt = 0; ; attempt++) {
      let answered = false;
      try {
        scope.signal.throwIfAborted();
        const connection = await this.connect(scope.signal);
        try {
          for await (const item of body(await connection.service(name), scope)) {
            answered = true;
            yield item;
          }
          return;
        } catch (error) {
          if (answered || attempt > 0 || scope.error(error).code !== "DAEMON_STOPPING") throw error;
          this.#connection = undefined;
          await this.#gone(connection, undefined, scope.signal);
        }
      } catch (error) {
        throw scope.error(error);
      }
    }
  }

  /** A connection to a daemon that answers; started where there is none. Calls at once share one attempt. */
  async connect(signal: AbortSignal): Promise<Connection> {
    for (;;) {
      const attempt = (this.#connection ??= this.#open(this.#closing.signal));
      const forget = (): void => {
        if (this.#connection === attempt) this.#connection = undefined;
      };
      attempt.catch(forget);
      const connection = await untilAborted(attempt, signal);
      if (!connection.closed) return connection;
      forget();
    }
  }

  /** The daemon that runs now, or undefined; starts none. */
  async running(
    options: CallOptions,
  ): Promise<{ connection: Connection; status: StatusResponse } | undefined> {
    using scope = callScope("asking for the daemon", options);
    const connection = await tryConnect(socketPathOf(this.stateDir));
    if (connection === undefined) return undefined;
    try {
      return { connection, status: await askStatus(connection, scope.signal) };
    } catch (error) {
      connection[Symbol.dispose]();
      throw scope.error(error);
    }
  }

  /** One call on a connection from `running`. */
  async ask<T>(
    what: string,
    options: CallOptions,
    connection: Connection,
    body: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    using scope = callScope(what, options);
    try {
      return await body(scope.signal);
    } catch (error) {
      throw scope.error(error);
    }
  }

  /**
   * Waits until the daemon left: its process ended, where that is known, or nobody listens on its socket. Another
   * daemon may listen there by then, which a client had begun to start.
   */
  async untilGone(pid: number | undefined, signal?: AbortSignal): Promise<boolean> {
    const deadline = performance.now() + HANDOVER_MS;
    // Its socket goes before its process does, which has machines to end.
    const isElsewhere = pid !== undefined && pid !== process.pid;
    while (performance.now() < deadline) {
      if (!(isElsewhere ? isAlive(pid) : await isListening(socketPathOf(this.stateDir)))) return true;
      await sleep(POLL_MS, signal);
    }
    return false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new PyroError("CANCELLED", "this Pyro was closed"));
    const connection = await this.#connection?.catch(() => undefined);
    connection?.[Symbol.dispose]();
    this.#connection = undefined;
  }

  async #open(signal: AbortSignal): Promise<Connection> {
    await prepareStateDirectory(this.stateDir);
    const found = await tryConnect(socketPathOf(this.stateDir));
    if (found !== undefined) {
      const served = await this.#adopt(found, signal);
      if (served !== undefined) return served;
    }
    const program = this.#options.daemonProgram ?? ownDaemonProgram();
    const stateArgs = this.#options.stateDir === undefined ? [] : ["--state-dir", this.stateDir];
    const connection = await startDaemon(this.stateDir, program, stateArgs, signal);
    await askStatus(connection, signal);
    return connection;
  }

  /** A daemon that was there already: taken as it is, or asked to hand over when it is of another build and idle. */
  async #adopt(connection: Connection, signal: AbortSignal): Promise<Connection | undefined> {
    let status: StatusResponse;
    try {
      status = await askStatus(connection, signal);
    } catch (error) {
      const known = wireError(error);
      // It was just leaving. Its socket goes before its process does.
      if (known.code !== "DAEMON_UNREACHABLE" && known.code !== "DAEMON_STOPPING") throw known;
      await this.#gone(connection, undefined, signal);
      return undefined;
    }
    if (this.#buildId === "" || status.buildId === this.#buildId) return connection;
    const { stopping, reason } = await (
      await connection.service("daemon")
    ).stop({ handOver: true }, { signal });
    if (stopping) {
      await this.#gone(connection, status.pid, signal);
      return undefined;
    }
    this.#options.onWarning?.(
      `the running daemon is of another version (${status.version}, process ${status.pid}) and still works: ${reason}; ` +
        "it serves this call as it is",
    );
    return connection;
  }

  async #gone(connection: Connection, pid: number | undefined, signal: AbortSignal): Promise<void> {
    connection[Symbol.dispose]();
    if (await this.untilGone(pid, signal)) return;
    throw new PyroError("DAEMON_UNREACHABLE", `a daemon in ${this.stateDir} neither serves nor leaves`, {
      hint: "`pyro daemon logs` shows what it waits for; `pyro daemon stop --force` ends that",
      retryable: true,
    });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** The first call on each connection: a stopped process accepts connections and answers nothing. */
async function askStatus(connection: Connection, signal: AbortSignal): Promise<StatusResponse> {
  using scope = callScope("the daemon's answer", { signal, timeoutMs: LIMITS.daemonAnswerMs });
  try {
    return await (await connection.service("daemon")).status({}, { signal: scope.signal });
  } catch (error) {
    const known = scope.error(error);
    if (known.code !== "DEADLINE_EXCEEDED") throw known;
    throw new PyroError(
      "DAEMON_UNREACHABLE",
      `the pyro daemon did not answer within ${LIMITS.daemonAnswerMs} ms`,
      {
        hint: "its process may be stopped or swamped: `pyro daemon logs` shows what it did last",
        retryable: true,
        cause: known,
      },
    );
  }
}
