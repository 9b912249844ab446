import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { CommandRecordSchema } from "../../protocol/gen/pyro/daemon/v1/workspace_command_pb.js";
import type { WorkspaceService } from "../../protocol/gen/pyro/daemon/v1/workspace_pb.js";
import { LIMITS } from "../../protocol/index.js";
import {
  cancelCommand,
  startCommand,
  waitForCommand,
  type Workspace,
  type WorkspaceCommand,
  type Workspaces,
} from "../../workspace/index.js";
import { streamExec, toRequest } from "./workspace-exec-stream.js";
import { toCommandRecord } from "./workspace-view.js";

type Calls = Pick<
  ServiceImpl<typeof WorkspaceService>,
  "exec" | "startCommand" | "readCommand" | "cancelCommand" | "listCommands"
>;
type Record = MessageInitShape<typeof CommandRecordSchema>;

/** Most bytes of output in one answer (contract section 2). */
const OUTPUT_BYTES = 64 * 1024;

/** Commands of workspaces. */
export function commandCalls(workspaces: Workspaces): Calls {
  return {
    exec: (requests, { signal }) => streamExec(workspaces, requests, signal),
    startCommand: async ({ spec, waitMs, maxBytes }, { signal }) => {
      const workspace = workspaces.find(spec?.workspace ?? "");
      const command = await startCommand(workspace, toRequest(spec, false), { signal });
      await waitForCommand(command, Math.min(waitMs, LIMITS.mcpBlockMs), signal);
      return await toRecord(workspace, command, 0, maxBytes);
    },
    readCommand: async ({ workspace: reference, sequence, offset, maxBytes, waitMs }, { signal }) => {
      const workspace = workspaces.find(reference);
      const command = workspace.commands.find(sequence);
      await waitForCommand(command, Math.min(waitMs, LIMITS.mcpBlockMs), signal);
      return await toRecord(workspace, command, Number(offset), maxBytes);
    },
    cancelCommand: async ({ workspace: reference, sequence, maxBytes }) => {
      const workspace = workspaces.find(reference);
      return await toRecord(workspace, await cancelCommand(workspace, sequence), 0, maxBytes);
    },
    listCommands: ({ workspace: reference }) => {
      const workspace = workspaces.find(reference);
      return { commands: workspace.commands.all.map((command) => toCommandRecord(workspace, command)) };
    },
  };
}

async function toRecord(
  workspace: Workspace,
  command: WorkspaceCommand,
  offset: number,
  maxBytes: number,
): Promise<Record> {
  if (maxBytes === 0) return toCommandRecord(workspace, command);
  const view = await command.output.view(offset, Math.min(maxBytes, OUTPUT_BYTES));
  return toCommandRecord(workspace, command, view);
}
