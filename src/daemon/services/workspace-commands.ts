import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type {
  CommandRecordSchema,
  CommandSpec,
  ExecRequest as WireExec,
  ExecResponseSchema,
  WorkspaceService,
} from "../../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import { untilAborted } from "../../kit/index.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import {
  cancelCommand,
  startCommand,
  waitForCommand,
  type ExecRequest,
  type Workspace,
  type WorkspaceCommand,
  type Workspaces,
} from "../../workspace/index.js";
import { feed } from "../feed.js";
import { Handoff } from "../handoff.js";
import { toCommandRecord } from "./workspace-view.js";

type Calls = Pick<
  ServiceImpl<typeof WorkspaceService>,
  "exec" | "startCommand" | "readCommand" | "cancelCommand" | "listCommands"
>;
type Response = MessageInitShape<typeof ExecResponseSchema>;
type Record = MessageInitShape<typeof CommandRecordSchema>;

/** Most bytes of output in one answer (contract section 2). */
const OUTPUT_BYTES = 64 * 1024;

/** Commands of workspaces. */
export function commandCalls(workspaces: Workspaces): Calls {
  return {
    exec: (requests, context) => streamExec(workspaces, requests, context),
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

/** A command with its output as it comes; it goes on, unheard, when the caller leaves. */
async function* streamExec(
  workspaces: Workspaces,
  requests: AsyncIterable<WireExec>,
  { signal }: HandlerContext,
): AsyncGenerator<Response> {
  const inputs = requests[Symbol.asyncIterator]();
  const first = await inputs.next();
  const start = first.done === true ? undefined : first.value.request;
  if (start?.case !== "start") {
    throw new PyroError("INVALID_ARGUMENT", "the first message of Exec is not `start`", {
      hint: "update the client",
    });
  }
  const { spec, openStdin } = start.value;
  const workspace = workspaces.find(spec?.workspace ?? "");
  const events = new Handoff<Response>();
  const left = AbortSignal.any([signal, events.left]);
  const command = await startCommand(workspace, toRequest(spec, openStdin), {
    signal: left,
    listener: async (stream, data) => {
      // A caller that left takes nothing any more.
      if (left.aborted) return;
      await untilAborted(events.put({ event: { case: stream, value: data } }), left).catch(() => undefined);
    },
  });
  void events.put({ event: { case: "sequence", value: command.sequence } });
  const running = command.live;
  if (running !== undefined) {
    void feed(inputs, running, (total) => {
      void events.put({ event: { case: "stdinAccepted", value: BigInt(total) } });
    });
  }
  void command.done.then(() => {
    events.end({ event: { case: "result", value: toCommandRecord(workspace, command) } });
  });
  yield* events;
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

/** @throws {PyroError} INVALID_ARGUMENT */
function toRequest(spec: CommandSpec | undefined, openStdin: boolean): ExecRequest {
  if (spec === undefined) {
    throw new PyroError("INVALID_ARGUMENT", "no command is given", { hint: "update the client" });
  }
  const { argv, command, env, cwd, timeoutMs } = spec;
  return { argv, command, env, cwd, timeoutMs: timeoutMs || undefined, openStdin };
}
