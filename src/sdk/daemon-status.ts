import type { StatusResponse } from "../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import { toIsolation, type Isolation } from "./run-result.js";

/** The daemon of a state directory; everything but the paths is null while none runs. */
export interface DaemonStatus {
  readonly running: boolean;
  readonly stateDir: string;
  readonly logPath: string;
  readonly cacheDir: string | null;
  readonly version: string | null;
  readonly pid: number | null;
  /** ISO 8601. */
  readonly startedAt: string | null;
  /** Null while no accelerator was probed. */
  readonly isolation: Isolation | null;
  readonly runningVms: number | null;
  /** Machines that wait ready; not among those that run. */
  readonly pooledVms: number | null;
  readonly queuedBoots: number | null;
  readonly activeCalls: number | null;
  readonly residentBytes: number | null;
}

export interface DaemonStopped {
  /** False when there was none to stop. */
  readonly wasRunning: boolean;
}

export function toDaemonStatus(status: StatusResponse): DaemonStatus {
  return {
    running: true,
    stateDir: status.stateDir,
    logPath: status.logPath,
    cacheDir: status.cacheDir,
    version: status.version,
    pid: status.pid,
    startedAt: new Date(Number(status.startedAtMs)).toISOString(),
    isolation: status.isolation === "" ? null : toIsolation(status.isolation),
    runningVms: status.runningVms,
    pooledVms: status.pooledVms,
    queuedBoots: status.queuedBoots,
    activeCalls: status.activeCalls,
    residentBytes: Number(status.residentBytes),
  };
}

export function noDaemon(stateDir: string, logPath: string): DaemonStatus {
  return {
    running: false,
    stateDir,
    logPath,
    cacheDir: null,
    version: null,
    pid: null,
    startedAt: null,
    isolation: null,
    runningVms: null,
    pooledVms: null,
    queuedBoots: null,
    activeCalls: null,
    residentBytes: null,
  };
}
