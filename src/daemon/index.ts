/**
 * The daemon: the only writer of state, owner of the machines, server of the API. It may die at any instant; the next
 * one removes what it left (machines.ts, run-registry.ts, the image store's sweep).
 */
import { join } from "node:path";
import { directoriesFor, fileLogger, tryLock, type Logger } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { Activity, countCalls } from "./activity.js";
import { compose, type Drivers } from "./compose.js";
import { CONFIGURATION_FILE, describeConfiguration, readConfiguration } from "./configuration.js";
import { listen, preparePrivateDirectory } from "./socket.js";
import { errorEdge } from "./wire-error.js";

export interface DaemonOptions {
  readonly stateDir?: string | undefined;
  readonly version: string;
  /** Fingerprint of the code that runs. */
  readonly buildId: string;
  /** Default: the real ones. */
  readonly drivers?: Drivers;
  /** Most machines that wait ready, in all. Default: what PYRO_POOL says. */
  readonly poolSize?: number;
  /** Default: LIMITS.daemonIdleMs. */
  readonly idleMs?: number;
  /** Default: config.toml of the user's configuration directory. */
  readonly configPath?: string;
}

/**
 * Serves until it is idle, told to stop, or signalled.
 * @throws {PyroError} DAEMON_ALREADY_RUNNING, STATE_NOT_PRIVATE, STATE_NOT_WRITABLE, CONFIG_INVALID
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  process.umask(0o077);
  const directories = directoriesFor(options.stateDir);
  const isRoot = process.getuid?.() === 0;
  // As root, machines run as users of their own, who must be able to pass through.
  const mode = isRoot ? 0o711 : 0o700;
  await preparePrivateDirectory(directories.state, mode);
  await preparePrivateDirectory(directories.cache, mode);
  const lock = await tryLock(join(directories.state, "daemon.lock"));
  if (lock === undefined) {
    throw new PyroError("DAEMON_ALREADY_RUNNING", `a daemon serves ${directories.state} already`, {
      hint: "`pyro daemon status` shows it, `pyro daemon stop` ends it",
    });
  }
  await using _lock = lock;
  const configuration = await readConfiguration(
    options.configPath ?? join(directories.config, CONFIGURATION_FILE),
  );
  const logPath = join(directories.state, "daemon.log");
  using log = fileLogger(logPath);
  const { version } = options;
  const configured = describeConfiguration(configuration, configuration);
  log.info("daemon.start", { pid: process.pid, version, configuration: configured });
  using _defects = listenTo(["unhandledRejection", "uncaughtException"], (error) => recordDefect(log, error));

  let stop: (reason: string) => void = () => undefined;
  const stopped = new Promise<string>((resolve) => (stop = resolve));
  using activity = new Activity(options.idleMs ?? LIMITS.daemonIdleMs, () => stop("idle"));
  await using room = await compose({
    ...options,
    directories,
    configuration,
    logPath,
    log,
    activity,
    stop: () => stop("asked"),
  });
  await using _server = await listen(directories.state, room.routes, [
    errorEdge((method, error) => log.warn("call.failed", { method, ...error.toJSON() })),
    countCalls(activity),
  ]);
  using _signals = listenTo(["SIGTERM", "SIGINT", "SIGHUP"], (name) => stop(String(name)));
  log.info("daemon.stop", { reason: await stopped });
}

/** A defect in one call must not take the machines' owner down; it is recorded, and the daemon goes on. */
function recordDefect(log: Logger, error: unknown): void {
  log.error("defect", { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}

/** Hears events of this process until it is disposed of. */
function listenTo(names: readonly string[], listener: (value: unknown) => void): Disposable {
  for (const name of names) process.on(name, listener);
  return {
    [Symbol.dispose]: () => {
      for (const name of names) process.off(name, listener);
    },
  };
}
