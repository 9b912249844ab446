import type { PyroError } from "../protocol/index.js";
import type { Vm as WireVm, VmOperation as WireOperation } from "../protocol/gen/pyro/daemon/v1/vm_pb.js";
import { fromDetail } from "./call.js";
import type { PublishedPort } from "./network-record.js";
import { toIsolation, type CommandResult, type Isolation } from "./run-result.js";

/** What goes on in a VM, or went on last. */
export interface VmOperation {
  readonly kind: "start" | "stop";
  readonly state: "running" | "done" | "failed";
  readonly message: string;
  /** 0 to 1, or null where it is not known. */
  readonly progress: number | null;
  readonly error: PyroError | null;
}

/** A VM of the low level as it is now; times are ISO 8601. */
export interface VmRecord {
  readonly vmId: string;
  readonly environment: string;
  readonly state: "created" | "started" | "stopped";
  /** Whether it reaches anything. */
  readonly network: boolean;
  readonly publishedPorts: readonly PublishedPort[];
  readonly vcpuCount: number;
  readonly memMib: number;
  /** Null while it was never started. */
  readonly isolation: Isolation | null;
  readonly createdAt: string;
  /** It is deleted after this. */
  readonly expiresAt: string;
  readonly operation: VmOperation | null;
  /** Why its last start failed, or how its machine was lost. */
  readonly failure: { readonly code: string; readonly message: string; readonly hint: string } | null;
}

/** What reaches a VM, and what it reaches. */
export type VmNetworkInfo = Pick<VmRecord, "vmId" | "state" | "network" | "publishedPorts">;

/** How the one command of a VM ended, with the run that keeps its output 10 minutes longer. */
export interface VmCommandResult extends CommandResult {
  readonly vmId: string;
  readonly runId: string;
}

/** Those that were deleted for their age, and those that are left. */
export interface ReapedVms {
  readonly reaped: readonly string[];
  readonly vms: readonly VmRecord[];
}

/** The record as the daemon sent it. */
export function toVmRecord(wire: WireVm): VmRecord {
  const { vmId, environment, vcpuCount, memMib, operation, failure } = wire;
  return {
    ...{ vmId, environment, vcpuCount, memMib, network: wire.network, publishedPorts: [] },
    state: wire.state as VmRecord["state"],
    isolation: wire.isolation === "" ? null : toIsolation(wire.isolation),
    createdAt: toTime(wire.createdAtMs),
    expiresAt: toTime(wire.expiresAtMs),
    operation: operation === undefined ? null : toOperation(operation),
    failure:
      failure === undefined ? null : { code: failure.code, message: failure.message, hint: failure.hint },
  };
}

function toOperation({ kind, state, message, progress, error }: WireOperation): VmOperation {
  return {
    ...{ kind: kind as VmOperation["kind"], state: state as VmOperation["state"], message },
    progress: progress >= 0 && progress <= 1 ? progress : null,
    error: error === undefined ? null : fromDetail(error),
  };
}

function toTime(ms: bigint): string {
  return new Date(Number(ms)).toISOString();
}
