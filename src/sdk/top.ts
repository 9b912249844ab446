import type { LookResponse, WorkspaceUsage as WireUsage } from "../protocol/gen/pyro/daemon/v1/top_pb.js";
import type { WorkspaceState } from "./workspace-record.js";

/** What workspaces cost the host at one moment. Two of them give rates, where `daemonId` is the same. */
export interface WorkspacesUsage {
  /** Monotonic, in microseconds. */
  readonly atUs: number;
  readonly daemonId: string;
  /** Processors of the host. */
  readonly cpuCount: number;
  /** The last active first. */
  readonly workspaces: readonly WorkspaceUsage[];
}

/** What one workspace costs the host; a machine that does not run costs its disk only. */
export interface WorkspaceUsage {
  readonly workspaceId: string;
  readonly name: string | null;
  readonly environment: string;
  readonly state: WorkspaceState;
  /** What holds its machine up: "host disk full" (it goes on when there is room), "hangs"; null: nothing. */
  readonly hindrance: string | null;
  readonly vcpuCount: number;
  readonly memMib: number;
  /** Of its QEMU process; null where none runs. */
  readonly pid: number | null;
  /** Time of that process on the host's processors since it began, in microseconds. */
  readonly cpuUs: number;
  /** That process's share of the host's memory; what is resident, where the host does not tell shares. */
  readonly memoryBytes: number;
  /** Allocated on the host by its own layers, the environment's image below them not counted. */
  readonly diskBytes: number;
  readonly runningCommandCount: number;
  readonly lastCommand: string | null;
  readonly lastActivityAt: string;
}

/** The answer as the daemon sent it. */
export function toWorkspacesUsage({ atUs, daemonId, cpuCount, workspaces }: LookResponse): WorkspacesUsage {
  return { atUs: Number(atUs), daemonId, cpuCount, workspaces: workspaces.map(toUsage) };
}

function toUsage(wire: WireUsage): WorkspaceUsage {
  const { workspaceId, environment, vcpuCount, memMib } = wire;
  return {
    ...{ workspaceId, environment, vcpuCount, memMib },
    name: wire.name === "" ? null : wire.name,
    state: wire.state as WorkspaceState,
    hindrance: wire.hindrance === "" ? null : wire.hindrance,
    pid: wire.pid === 0 ? null : wire.pid,
    cpuUs: Number(wire.cpuUs),
    memoryBytes: Number(wire.memoryBytes),
    diskBytes: Number(wire.diskBytes),
    runningCommandCount: wire.runningCommands,
    lastCommand: wire.lastCommand === "" ? null : wire.lastCommand,
    lastActivityAt: new Date(Number(wire.lastActivityAtMs)).toISOString(),
  };
}
