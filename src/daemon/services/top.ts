import { randomUUID } from "node:crypto";
import { availableParallelism } from "node:os";
import { basename } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { TopService, WorkspaceUsageSchema } from "../../protocol/gen/pyro/daemon/v1/top_pb.js";
import type { Workspace, Workspaces } from "../../workspace/index.js";
import { diskUsage, processUsage } from "../usage.js";

/** The TopService: figures of the host's own, so that no machine and no workspace's turn is waited for. */
export function topService(workspaces: Pick<Workspaces, "all">): ServiceImpl<typeof TopService> {
  const daemonId = randomUUID();
  return {
    look: async () => ({
      daemonId,
      cpuCount: availableParallelism(),
      workspaces: await Promise.all(workspaces.all.map(toUsage)),
      atUs: BigInt(Math.round(performance.now() * 1000)),
    }),
  };
}

async function toUsage(workspace: Workspace): Promise<MessageInitShape<typeof WorkspaceUsageSchema>> {
  const { record, runningMachine, commands, paths } = workspace;
  const { directory } = paths;
  const [usage, diskBytes] = await Promise.all([
    runningMachine === undefined ? undefined : processUsage(runningMachine.pid),
    diskUsage(directory, [basename(paths.commands)]),
  ]);
  return {
    workspaceId: workspace.id,
    name: record.name ?? "",
    environment: record.environment,
    state: record.state,
    hindrance: runningMachine?.hindrance ?? "",
    isolation: record.isolation ?? "",
    vcpuCount: record.vcpuCount,
    memMib: record.memMib,
    diskBytes: BigInt(diskBytes),
    runningCommands: commands.running.length,
    lastCommand: commands.all.at(-1)?.facts.command ?? "",
    lastActivityAtMs: BigInt(record.lastActivityAtMs),
    ...(usage === undefined
      ? {}
      : {
          pid: runningMachine?.pid ?? 0,
          cpuUs: BigInt(usage.cpuUs),
          memoryBytes: BigInt(usage.memoryBytes),
          memoryIsSharedOut: usage.memoryIsSharedOut,
        }),
  };
}
