import type {
  Service as WireService,
  ServiceLog as WireLog,
  ServiceReadiness as WireReadiness,
} from "../protocol/gen/pyro/daemon/v1/service_pb.js";
import { toPublishedPort, type PublishedPort } from "./network-record.js";

export type ServiceState = "starting" | "running" | "exited" | "stopped" | "failed";

/**
 * By what a service is known to be ready: a file (relative to its working directory), a TCP address ("host:port" or
 * ":port") that takes connections, an http URL that answers with 200 to 399, or a shell line that ends with 0. What held
 * before the start does not count until it has ceased to hold.
 */
export type ServiceReadiness =
  | { readonly type: "file"; readonly path: string }
  | { readonly type: "tcp"; readonly address: string }
  | { readonly type: "http"; readonly url: string }
  | { readonly type: "command"; readonly command: string };

/** A service as it is now; times are ISO 8601. */
export interface ServiceRecord {
  readonly workspaceId: string;
  readonly serviceName: string;
  readonly command: string;
  readonly cwd: string;
  readonly state: ServiceState;
  readonly readiness: ServiceReadiness | null;
  readonly startedAt: string;
  readonly readyAt: string | null;
  readonly endedAt: string | null;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly outOfMemory: boolean;
  /**
   * Of one that ended: "requested", "exited", "exited_before_ready", "not_ready"; "workspace_stopped",
   * "workspace_expired" and "machine_lost" where it ended with its machine.
   */
  readonly stopReason: string | null;
  /** Why it failed. */
  readonly failure: string | null;
  /** Of its first process, while that lives. */
  readonly pid: number | null;
  /** Its first process ended while others of it live. */
  readonly forked: boolean;
  /** Until now, or until its end. */
  readonly uptimeSeconds: number;
  /** None is started again by itself. */
  readonly restarts: number;
  /** Ports that it has on this host, while it lives. */
  readonly publishedPorts: readonly PublishedPort[];
}

/** What is kept of one stream: the newest bytes, of them the last lines that were asked for. */
export interface ServiceLog {
  readonly data: Uint8Array;
  /** All that was ever written. */
  readonly totalBytes: number;
  /** Of that, the oldest bytes, which are not kept any more. */
  readonly droppedBytes: number;
  /** Kept, and above the lines that were asked for. */
  readonly aboveBytes: number;
}

export interface ServiceLogs {
  readonly workspaceId: string;
  readonly serviceName: string;
  readonly state: ServiceState;
  readonly stdout: ServiceLog;
  readonly stderr: ServiceLog;
  /** Null: all that is kept. */
  readonly tailLines: number | null;
}

/** The record as the daemon sent it. */
export function toServiceRecord(wire: WireService): ServiceRecord {
  return {
    workspaceId: wire.workspaceId,
    serviceName: wire.name,
    command: wire.command,
    cwd: wire.cwd,
    state: wire.state as ServiceState,
    readiness: toReadiness(wire.readiness),
    startedAt: toTime(wire.startedAtMs) ?? "",
    readyAt: toTime(wire.readyAtMs),
    endedAt: toTime(wire.endedAtMs),
    exitCode: wire.exitCode ?? null,
    signal: wire.signal === "" ? null : wire.signal,
    outOfMemory: wire.outOfMemory,
    stopReason: wire.stopReason === "" ? null : wire.stopReason,
    failure: wire.failure === "" ? null : wire.failure,
    pid: wire.pid === 0 ? null : wire.pid,
    forked: wire.forked,
    uptimeSeconds: Number(wire.uptimeMs) / 1000,
    restarts: wire.restarts,
    publishedPorts: wire.publishedPorts.map(toPublishedPort),
  };
}

export function toServiceLog(log: WireLog | undefined): ServiceLog {
  return {
    data: log?.data ?? new Uint8Array(),
    totalBytes: Number(log?.totalBytes ?? 0),
    droppedBytes: Number(log?.droppedBytes ?? 0),
    aboveBytes: Number(log?.aboveBytes ?? 0),
  };
}

function toReadiness(readiness: WireReadiness | undefined): ServiceReadiness | null {
  switch (readiness?.by.case) {
    case "file":
      return { type: "file", path: readiness.by.value };
    case "tcpAddress":
      return { type: "tcp", address: readiness.by.value };
    case "httpUrl":
      return { type: "http", url: readiness.by.value };
    case "command":
      return { type: "command", command: readiness.by.value };
    case undefined:
      return null;
  }
}

function toTime(ms: bigint): string | null {
  return ms === 0n ? null : new Date(Number(ms)).toISOString();
}
