import type { MessageInitShape } from "@bufbuild/protobuf";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { CommandSpecSchema, ExecResponse } from "../protocol/gen/pyro/daemon/v1/workspace_command_pb.js";
import type { ServiceClient } from "./services.js";
import { toCommandWords } from "./run-options.js";
import type { CommandProtocol, RunInput } from "./run-stream.js";
import { toWorkspaceCommand, type WorkspaceCommandRecord } from "./workspace-record.js";

/** A command for a workspace. */
export interface ExecWorkspaceOptions {
  /** Id, unique prefix of an id, or unique name. */
  readonly workspaceId: string;
  /** A shell line for `/bin/sh -lc`; exactly one of `command` and `argv`. */
  readonly command?: string | undefined;
  /** A program and its arguments, run without a shell. Bytes pass as they are. */
  readonly argv?: readonly (string | Uint8Array)[] | undefined;
  /** Default /workspace; relative paths lie under it. */
  readonly cwd?: string | undefined;
  readonly env?: Readonly<Record<string, string | Uint8Array>> | undefined;
  /** Bounds the command; default 600 s. */
  readonly timeoutSeconds?: number | undefined;
  /** Secrets of the workspace that the command is given, each by the name of its variable: {secret: variable}. */
  readonly secretEnv?: Readonly<Record<string, string>> | undefined;
  readonly stdin?: RunInput | undefined;
}

/** Events of a command, in order: its sequence first, `result` last. */
export type ExecEvent =
  | { readonly type: "started"; readonly sequence: number }
  | { readonly type: "stdout"; readonly data: Uint8Array }
  | { readonly type: "stderr"; readonly data: Uint8Array }
  /** The daemon was lost; the next one is asked for what comes. The command gets no more input. */
  | { readonly type: "reconnecting"; readonly error: PyroError }
  /** Bytes of a stream, right before its next ones, that were not kept meanwhile. */
  | { readonly type: "skipped"; readonly stream: "stdout" | "stderr"; readonly bytes: number }
  | { readonly type: "result"; readonly result: WorkspaceCommandRecord };

/** A command whose output is read as it comes. Leaving the iteration leaves the command running. */
export interface ExecStream extends AsyncIterable<ExecEvent> {
  /** Sends a signal, for example "SIGINT", to the command's process group. */
  signal(name: string): Promise<void>;
}

/** A command as it is said to the wire. */
type CommandSpecInit = MessageInitShape<typeof CommandSpecSchema>;

const DEFAULT_TIMEOUT_SECONDS = 600;

/**
 * The options as the wire carries them.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE
 */
export function toCommandSpec(options: ExecWorkspaceOptions): CommandSpecInit {
  const { timeoutSeconds = DEFAULT_TIMEOUT_SECONDS } = options;
  if (!Number.isInteger(timeoutSeconds) || timeoutSeconds < 1 || timeoutSeconds > LIMITS.longestSeconds) {
    throw new PyroError("INVALID_ARGUMENT", `timeoutSeconds is ${timeoutSeconds}`, {
      hint: `give a whole number from 1 to ${LIMITS.longestSeconds}`,
    });
  }
  return {
    ...toCommandWords(options),
    workspace: options.workspaceId,
    cwd: options.cwd ?? "",
    timeoutMs: timeoutSeconds * 1000,
    secretEnv: { ...options.secretEnv },
  };
}

type ExecStart = {
  readonly case: "start";
  readonly value: { readonly spec: CommandSpecInit; readonly openStdin: boolean };
};

/** Commands of workspaces: leaving the stream leaves them running. */
export function execProtocol(
  workspace: ServiceClient<"workspace">,
  spec: CommandSpecInit,
  openStdin: boolean,
) {
  return {
    start: { case: "start", value: { spec, openStdin } },
    open: (requests, signal) => workspace.exec(requests, { signal }),
    toEvent,
    accepted: ({ event }) => (event.case === "stdinAccepted" ? event.value : undefined),
    isResult: ({ type }) => type === "result",
  } satisfies CommandProtocol<ExecStart, ExecResponse, ExecEvent>;
}

type ExecAttach = {
  readonly case: "attach";
  readonly value: {
    readonly workspace: string;
    readonly sequence: number;
    readonly stdoutOffset: bigint;
    readonly stderrOffset: bigint;
  };
};

/** A command that was started before, from there on. */
export function attachProtocol(workspace: ServiceClient<"workspace">, value: ExecAttach["value"]) {
  return {
    start: { case: "attach", value },
    open: (requests, signal) => workspace.exec(requests, { signal }),
    toEvent,
    accepted: () => undefined,
    isResult: ({ type }) => type === "result",
  } satisfies CommandProtocol<ExecAttach, ExecResponse, ExecEvent>;
}

function toEvent({ event }: ExecResponse): ExecEvent | undefined {
  switch (event.case) {
    case "sequence":
      return { type: "started", sequence: event.value };
    case "stdout":
    case "stderr":
      return { type: event.case, data: event.value };
    case "result":
      return { type: "result", result: toWorkspaceCommand(event.value) };
    case "skipped": {
      const { stream, bytes } = event.value;
      return { type: "skipped", stream: stream === "stderr" ? "stderr" : "stdout", bytes: Number(bytes) };
    }
    case "stdinAccepted":
    case undefined:
      return undefined;
  }
}
