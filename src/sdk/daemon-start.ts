import { constants } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  baseEnvironment,
  connectUnix,
  launch,
  LaunchError,
  loginVariables,
  networkVariablesForDaemon,
  sleep,
  thisBuild,
  type Child,
} from "../kit/index.js";
import { LIMITS, PyroError, fromWire } from "../protocol/index.js";
import { openConnection, type Connection } from "./connection.js";
import { socketPathOf } from "./daemon-files.js";

/** How a daemon is started: the program and its arguments; the state directory is added where the user gave one. */
export interface DaemonProgram {
  readonly program: string;
  readonly args: readonly string[];
}

const START_LOG_MAX_BYTES = 256 * 1024;
const TAIL_BYTES = 4096;
const POLL_MS = 15;

/** The daemon of this very build. */
export function ownDaemonProgram(): DaemonProgram {
  const { mainPath } = thisBuild();
  if (mainPath === undefined) {
    throw new PyroError(
      "DAEMON_START_FAILED",
      "pyro runs from its sources, and no daemon program was named",
      {
        hint: "run `make` and use bin/pyro",
      },
    );
  }
  return { program: process.execPath, args: [mainPath, "daemon", "run", "--json"] };
}

/**
 * Starts a daemon that outlives this process and waits for its socket. When two clients start one at once, the
 * daemon's lock lets one of them live and both clients reach it.
 * @throws {PyroError} DAEMON_START_FAILED with the end of its output, or the error by which the daemon refused
 */
export async function startDaemon(
  stateDir: string,
  program: DaemonProgram,
  extraArgs: readonly string[],
  signal: AbortSignal,
): Promise<Connection> {
  const { child, log } = await launchDaemon(stateDir, program, extraArgs);
  const exit = { seen: false };
  void child.exited.then(() => (exit.seen = true));
  const deadline = performance.now() + LIMITS.daemonStartMs;
  for (;;) {
    // Asked before connecting, so that a daemon that just left is given one more look.
    const ended = exit.seen;
    const connection = await tryConnect(socketPathOf(stateDir));
    if (connection !== undefined) return connection;
    if (ended) await throwUnlessAnotherRuns(log);
    if (performance.now() > deadline) {
      await child.close();
      throw await noStart(log, `it did not answer within ${LIMITS.daemonStartMs} ms`);
    }
    await sleep(POLL_MS, signal);
  }
}

/** Where a daemon's output goes while it starts, and where this start's part of it begins. */
interface StartLog {
  readonly path: string;
  readonly start: number;
}

/** What a daemon is to know of its starter's environment. */
function daemonEnvironment(): Record<string, string> {
  const pool = process.env["PYRO_POOL"];
  return {
    ...baseEnvironment(),
    ...networkVariablesForDaemon(),
    ...loginVariables(),
    ...(pool === undefined ? {} : { PYRO_POOL: pool }),
  };
}

async function launchDaemon(
  stateDir: string,
  { program, args }: DaemonProgram,
  extraArgs: readonly string[],
): Promise<{ child: Child; log: StartLog }> {
  const path = join(stateDir, "daemon.start.log");
  const file = await openLog(path);
  try {
    const start = (await file.stat()).size;
    const output = { stdout: file.fd, stderr: file.fd };
    const child = await launch(program, [...args, ...extraArgs], {
      ...{ cwd: "/", env: daemonEnvironment(), outlives: true },
      ...output,
    });
    return { child, log: { path, start } };
  } catch (error) {
    if (!(error instanceof LaunchError)) throw PyroError.from(error);
    throw new PyroError("DAEMON_START_FAILED", error.message, {
      hint: "run `make` in the checkout, or install anew",
      cause: error,
    });
  } finally {
    await file.close();
  }
}

/** Our daemon ended. When it did because another holds the lock, that one will answer. */
async function throwUnlessAnotherRuns(log: StartLog): Promise<void> {
  const failure = await readFailure(log);
  if (failure?.code === "DAEMON_ALREADY_RUNNING") return;
  throw failure ?? (await noStart(log, "it ended"));
}

/** A connection, or undefined where no daemon listens. */
export function tryConnect(socketPath: string): Promise<Connection | undefined> {
  return whereListening(() => openConnection(socketPath));
}

/** Whether somebody listens on the socket. */
export async function isListening(socketPath: string): Promise<boolean> {
  const socket = await whereListening(() => connectUnix(socketPath));
  socket?.destroy();
  return socket !== undefined;
}

async function whereListening<T>(connect: () => Promise<T>): Promise<T | undefined> {
  try {
    return await connect();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ECONNREFUSED" || code === "ECONNRESET") return undefined;
    throw PyroError.from(error);
  }
}

async function openLog(path: string) {
  try {
    const size = await stat(path).then(
      (found) => found.size,
      () => 0,
    );
    const restart = size > START_LOG_MAX_BYTES ? constants.O_TRUNC : 0;
    const flags =
      constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW | restart;
    return await open(path, flags, 0o600);
  } catch (error) {
    throw PyroError.from(error);
  }
}

/** What this start added to the log. */
async function readTail({ path, start }: StartLog): Promise<string> {
  const content = await readFile(path).catch(() => Buffer.alloc(0));
  const added = content.length >= start ? content.subarray(start) : content;
  return added.subarray(-TAIL_BYTES).toString("utf8").trim();
}

/** The error that the daemon printed last, `{"error":…}` on one line or more. */
async function readFailure(log: StartLog): Promise<PyroError | undefined> {
  const tail = await readTail(log);
  const document = /[^]*(\{\s*"error"[^]*)$/.exec(tail)?.[1] ?? "";
  try {
    const { error } = JSON.parse(document) as { error: Record<string, unknown> };
    if (typeof error["code"] !== "string" || typeof error["message"] !== "string") return undefined;
    return fromWire(error["code"], error["message"], {
      hint: typeof error["hint"] === "string" ? error["hint"] : "",
      retryable: error["retryable"] === true,
    });
  } catch {
    return undefined;
  }
}

async function noStart(log: StartLog, reason: string): Promise<PyroError> {
  const tail = await readTail(log);
  const { path } = log;
  return new PyroError("DAEMON_START_FAILED", `the pyro daemon could not be started: ${reason}`, {
    hint: tail === "" ? `see ${path}` : `see ${path}; its last lines:\n${tail}`,
    details: { log_path: path },
    retryable: true,
  });
}
