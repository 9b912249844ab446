import type { ServiceImpl } from "@connectrpc/connect";
import type { DaemonService } from "../../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import type { Directories } from "../../kit/index.js";

export interface DaemonFacts {
  readonly version: string;
  readonly buildId: string;
  readonly startedAtMs: number;
  readonly directories: Directories;
  readonly logPath: string;
  /** What goes on now. */
  readonly load: () => {
    readonly runningVms: number;
    readonly pooledVms: number;
    readonly queuedBoots: number;
    readonly activeCalls: number;
    /** Of the running ones: those of workspaces. */
    readonly workspaceVms: number;
  };
  /** Flushes and ends the machines of workspaces. */
  readonly stopWorkspaces: () => Promise<void>;
  readonly isolation: () => string;
  /** Ends the daemon after the answer left. */
  readonly stop: () => void;
}

/** The DaemonService: status and stop. */
export function daemonService(facts: DaemonFacts): ServiceImpl<typeof DaemonService> {
  return {
    status: () => {
      const { version, buildId, startedAtMs, directories, logPath } = facts;
      const { workspaceVms: _, ...load } = facts.load();
      return {
        version,
        buildId,
        pid: process.pid,
        startedAtMs: BigInt(startedAtMs),
        stateDir: directories.state,
        cacheDir: directories.cache,
        logPath,
        isolation: facts.isolation(),
        ...load,
        residentBytes: BigInt(process.memoryUsage.rss()),
      };
    },
    stop: async ({ force, handOver }) => {
      const { runningVms, activeCalls, workspaceVms } = facts.load();
      // Who takes over adopts them.
      const inTheWay = handOver ? runningVms - workspaceVms : runningVms;
      if (!force && (inTheWay > 0 || activeCalls > 0)) {
        return {
          stopping: false,
          reason: `${runningVms} machines run${workspaceVms > 0 ? `, ${workspaceVms} of them in workspaces,` : ""} and ${activeCalls} calls are unfinished`,
        };
      }
      if (force) await facts.stopWorkspaces();
      // The answer leaves first.
      setTimeout(facts.stop, 10);
      return { stopping: true };
    },
  };
}
