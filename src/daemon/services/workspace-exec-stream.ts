import type { MessageInitShape } from "@bufbuild/protobuf";
import { untilAborted } from "../../kit/index.js";
import type {
  CommandSpec,
  ExecAttach,
  ExecRequest as WireExec,
  ExecResponseSchema,
  ExecStart,
} from "../../protocol/gen/pyro/daemon/v1/workspace_command_pb.js";
import { PyroError } from "../../protocol/index.js";
import {
  startCommand,
  tailCommand,
  type ExecRequest,
  type WorkspaceCommand,
  type Workspaces,
} from "../../workspace/index.js";
import { feed } from "../feed.js";
import { Handoff } from "../handoff.js";
import { toCommandRecord } from "./workspace-view.js";

type Response = MessageInitShape<typeof ExecResponseSchema>;
type Requests = AsyncIterator<WireExec>;

/** A command with its output as it comes; it goes on, unheard, when the caller leaves. */
export async function* streamExec(
  workspaces: Workspaces,
  messages: AsyncIterable<WireExec>,
  signal: AbortSignal,
): AsyncGenerator<Response> {
  const requests = messages[Symbol.asyncIterator]();
  const first = await requests.next();
  const request = first.done === true ? undefined : first.value.request;
  if (request?.case === "start") yield* start(workspaces, request.value, requests, signal);
  else if (request?.case === "attach") yield* attach(workspaces, request.value, requests, signal);
  else {
    throw new PyroError("INVALID_ARGUMENT", "the first message of Exec is neither `start` nor `attach`", {
      hint: "update the client",
    });
  }
}

async function* start(
  workspaces: Workspaces,
  { spec, openStdin }: ExecStart,
  requests: Requests,
  signal: AbortSignal,
): AsyncGenerator<Response> {
  const workspace = workspaces.find(spec?.workspace ?? "");
  const events = new Handoff<Response>();
  const left = AbortSignal.any([signal, events.left]);
  const command = await startCommand(workspace, toRequest(spec, openStdin), {
    signal: left,
    listener: async (stream, data) => await hand(events, { case: stream, value: data }, left),
  });
  void events.put({ event: { case: "sequence", value: command.sequence } });
  const running = command.live;
  if (running !== undefined) {
    void feed(requests, running, (total) => {
      void events.put({ event: { case: "stdinAccepted", value: BigInt(total) } });
    });
  }
  void command.done.then(() => {
    events.end({ event: { case: "result", value: toCommandRecord(workspace, command) } });
  });
  yield* events;
}

/** The same of a command that was started before, from where its caller stands: with another daemon, it may be. */
async function* attach(
  workspaces: Workspaces,
  { workspace: reference, sequence, stdoutOffset, stderrOffset }: ExecAttach,
  requests: Requests,
  signal: AbortSignal,
): AsyncGenerator<Response> {
  const workspace = workspaces.find(reference);
  const command = workspace.commands.find(sequence);
  const events = new Handoff<Response>();
  const left = AbortSignal.any([signal, events.left]);
  void events.put({ event: { case: "sequence", value: sequence } });
  const from = { stdout: Number(stdoutOffset), stderr: Number(stderrOffset) };
  const sink = {
    take: async (stream: "stdout" | "stderr", data: Uint8Array) =>
      await hand(events, { case: stream, value: data }, left),
    skip: async (stream: string, bytes: number) =>
      await hand(events, { case: "skipped", value: { stream, bytes: BigInt(bytes) } }, left),
  };
  tailCommand(command, from, sink, left).then(
    () => events.end({ event: { case: "result", value: toCommandRecord(workspace, command) } }),
    (error: unknown) => events.fail(error),
  );
  void passSignals(requests, command);
  yield* events;
}

/** A caller that left takes nothing any more. */
async function hand(
  events: Handoff<Response>,
  event: NonNullable<Response["event"]>,
  left: AbortSignal,
): Promise<void> {
  if (!left.aborted) await untilAborted(events.put({ event }), left).catch(() => undefined);
}

/** Of what a caller sends, an attached command gets the signals: what was sent as input before is not known. */
async function passSignals(requests: Requests, command: WorkspaceCommand): Promise<void> {
  try {
    for (let next = await requests.next(); next.done !== true; next = await requests.next()) {
      const { request } = next.value;
      if (request.case === "signal") await command.live?.signal(request.value);
    }
  } catch {
    // The call was aborted or the machine is gone: the command itself says so.
  }
}

/** @throws {PyroError} INVALID_ARGUMENT */
export function toRequest(spec: CommandSpec | undefined, openStdin: boolean): ExecRequest {
  if (spec === undefined) {
    throw new PyroError("INVALID_ARGUMENT", "no command is given", { hint: "update the client" });
  }
  const { argv, command, env, cwd, timeoutMs, secretEnv } = spec;
  return { argv, command, env, cwd, timeoutMs: timeoutMs || undefined, openStdin, secretEnv };
}
