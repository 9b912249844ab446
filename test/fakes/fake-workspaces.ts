/** Workspaces of a fake daemon: one, `ws-1` by the name `fix`, whose commands and files are scripted. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type {
  CommandRecord,
  CommandRecordSchema,
} from "../../src/protocol/gen/pyro/daemon/v1/workspace_command_pb.js";
import type {
  CreateWorkspaceRequest,
  WorkspaceSchema,
  WorkspaceService,
} from "../../src/protocol/gen/pyro/daemon/v1/workspace_pb.js";

/** Plain fields; `undefined` takes one away. */
type Command = Partial<Record<keyof CommandRecord, unknown>>;
type Workspace = MessageInitShape<typeof WorkspaceSchema>;

export interface FakeWorkspaces {
  readonly service: Partial<ServiceImpl<typeof WorkspaceService>>;
  readonly created: CreateWorkspaceRequest[];
  readonly cancelled: number[];
}

/** The workspace as the daemon would send it. */
export function fakeWorkspace(changes: Workspace = {}): Workspace {
  return {
    ...{ workspaceId: "ws-1", name: "fix", environment: "debian:12", state: "started", isolation: "kvm" },
    ...{ vcpuCount: 1, memMib: 1024, createdAtMs: 1n, expiresAtMs: 2n, lastActivityAtMs: 1n },
    ...changes,
  };
}

/** A command that ended, or with `running` one that goes on; its output is a window of `text` of the size asked for. */
export function fakeCommand(
  text: string,
  { offset = 0n, maxBytes = 65_536 }: { readonly offset?: bigint; readonly maxBytes?: number },
  changes: Command = {},
): MessageInitShape<typeof CommandRecordSchema> {
  const bytes = Buffer.from(text);
  const from = Number(offset);
  const rest = bytes.subarray(from);
  const half = rest.length <= maxBytes ? rest.length : Math.floor(maxBytes / 2);
  const tailFrom = Math.max(half, rest.length - half);
  return {
    ...{ workspaceId: "ws-1", sequence: 7, command: "make test", cwd: "/workspace", startedAtMs: 1n },
    result: { environment: "debian:12", isolation: "kvm", exitCode: 0, durationUs: 1_234_000n },
    output: {
      ...{ offset, head: rest.subarray(0, half), tail: rest.subarray(tailFrom) },
      ...{ cutBytes: BigInt(tailFrom - half), totalBytes: BigInt(bytes.length) },
      ...{
        stdout: rest.subarray(0, half),
        stdoutBytes: BigInt(bytes.length),
        stdoutTruncated: half < rest.length,
      },
    },
    ...changes,
  } as MessageInitShape<typeof CommandRecordSchema>;
}

/** A service with that workspace; `output` is what each command wrote. */
export function fakeWorkspaces(
  output = "",
  command: Command = {},
  service: FakeWorkspaces["service"] = {},
): FakeWorkspaces {
  const created: CreateWorkspaceRequest[] = [];
  const cancelled: number[] = [];
  const still = async ({ waitMs }: { readonly waitMs: number }): Promise<void> => {
    if (command.running === true) await new Promise((resolve) => setTimeout(resolve, Math.min(waitMs, 50)));
  };
  return {
    created,
    cancelled,
    service: {
      create: (request) => {
        created.push(request);
        return fakeWorkspace();
      },
      list: () => ({ workspaces: [fakeWorkspace()] }),
      status: () => fakeWorkspace(),
      update: ({ name = "" }) => fakeWorkspace({ name }),
      delete: () => ({ workspaceId: "ws-1" }),
      reset: () => fakeWorkspace({ resetCount: 1, resetAtMs: 5n }),
      startCommand: async (request) => {
        await still(request);
        return fakeCommand(output, request, command);
      },
      readCommand: async (request) => {
        await still(request);
        return fakeCommand(output, request, command);
      },
      cancelCommand: (request) => {
        cancelled.push(request.sequence);
        return fakeCommand(output, {}, { result: { signal: "SIGKILL" } });
      },
      listCommands: () => ({ commands: [fakeCommand("", {}, { output: undefined })] }),
      ...service,
    },
  };
}
