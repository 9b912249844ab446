import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type {
  AttachShellRequest,
  AttachShellResponseSchema,
  ShellSchema,
  ShellService,
} from "../../protocol/gen/pyro/daemon/v1/shell_pb.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import {
  attachShell,
  type Attachment,
  type OpenedShell,
  type Workspace,
  type Workspaces,
} from "../../workspace/index.js";
import { bounded } from "./bounded.js";
import { withRedactedErrors } from "./redacted-errors.js";

type Shell = MessageInitShape<typeof ShellSchema>;
type AttachResponse = MessageInitShape<typeof AttachShellResponseSchema>;

/** Shells of workspaces. */
export function shellService(workspaces: Workspaces): ServiceImpl<typeof ShellService> {
  return withRedactedErrors(shellCalls(workspaces), workspaces);
}

function shellCalls(workspaces: Workspaces): ServiceImpl<typeof ShellService> {
  return {
    openShell: async ({ workspace: reference, ...request }, { signal }) => {
      const workspace = workspaces.find(reference);
      return toShell(workspace, await workspace.shells.open(request, signal));
    },
    listShells: async ({ workspace: reference }, { signal }) => {
      const workspace = workspaces.find(reference);
      return { shells: (await workspace.shells.list(signal)).map((shell) => toShell(workspace, shell)) };
    },
    readShell: async ({ workspace: reference, shell: id, cursor, ...request }, { signal }) => {
      const workspace = workspaces.find(reference);
      const waitForIdleMs = bounded("wait_for_idle_ms", request.waitForIdleMs, 0, LIMITS.shellQuietMs);
      const read = { ...request, waitForIdleMs, cursor: Number(cursor) };
      const {
        shell,
        isTruncated,
        droppedBytes,
        idle = "",
        ...output
      } = await workspace.shells.read(id, read, signal);
      return {
        ...{ shell: toShell(workspace, shell), output: output.output, truncated: isTruncated, idle },
        ...{ cursor: BigInt(output.cursor), nextCursor: BigInt(output.nextCursor) },
        droppedBytes: BigInt(droppedBytes),
      };
    },
    writeShell: async ({ workspace: reference, shell, data }, { signal }) => {
      const workspace = workspaces.find(reference);
      return toShell(workspace, await workspace.shells.write(shell, data, signal));
    },
    signalShell: async ({ workspace: reference, shell, signal: name }, { signal }) => {
      const workspace = workspaces.find(reference);
      return toShell(workspace, await workspace.shells.signal(shell, name, signal));
    },
    resizeShell: async ({ workspace: reference, shell, cols, rows }, { signal }) => {
      const workspace = workspaces.find(reference);
      return toShell(workspace, await workspace.shells.resize(shell, cols, rows, signal));
    },
    closeShell: async ({ workspace: reference, shell }, { signal }) => {
      const workspace = workspaces.find(reference);
      return toShell(workspace, await workspace.shells.close(shell, signal));
    },
    attachShell: (requests, { signal }) => attach(workspaces, requests, signal),
  };
}

async function* attach(
  workspaces: Workspaces,
  messages: AsyncIterable<AttachShellRequest>,
  signal: AbortSignal,
): AsyncGenerator<AttachResponse> {
  const requests = messages[Symbol.asyncIterator]();
  const first = await requests.next();
  const request = first.done === true ? undefined : first.value.request;
  if (request?.case !== "start") {
    throw new PyroError("INVALID_ARGUMENT", "the first message of AttachShell is not `start`", {
      hint: "update the client",
    });
  }
  const { workspace: reference, shell, cols, rows, cursor } = request.value;
  const workspace = workspaces.find(reference);
  const from = cursor === undefined ? undefined : Number(cursor);
  const ended = new AbortController();
  const over = AbortSignal.any([signal, ended.signal]);
  using attachment = await attachShell(workspace, shell, { cols, rows, cursor: from }, over);
  try {
    yield { event: { case: "attached", value: toShell(workspace, attachment.shell) } };
    void feed(requests, attachment, () => ended.abort(left()));
    for await (const piece of attachment.output) {
      if (piece.kind === "ended") {
        yield { event: { case: "ended", value: toShell(workspace, piece.shell) } };
        return;
      }
      const { data, nextCursor } = piece;
      yield { event: { case: "output", value: { data, nextCursor: BigInt(nextCursor) } } };
    }
  } catch (error) {
    // Detached: that is how it ends.
    if (!ended.signal.aborted) throw error;
  } finally {
    ended.abort(left());
  }
}

function left(): PyroError {
  return new PyroError("CANCELLED", "the caller left");
}

/** Keys and sizes, in their order, until the caller has no more. */
async function feed(
  requests: AsyncIterator<AttachShellRequest>,
  attachment: Attachment,
  onEnd: () => void,
): Promise<void> {
  try {
    for (let next = await requests.next(); next.done !== true; next = await requests.next()) {
      const { request } = next.value;
      if (request.case === "input") await attachment.write(request.value);
      else if (request.case === "resize") await attachment.resize(request.value.cols, request.value.rows);
    }
    onEnd();
  } catch {
    // The call was aborted, the shell has exited or the machine is gone: its output says so.
  }
}

function toShell(workspace: Workspace, shell: OpenedShell): Shell {
  const { exitCode, signal = "", totalBytes, firstByte, openedAtMs, argv, ...rest } = shell;
  return {
    ...rest,
    ...{ workspaceId: workspace.id, argv: [...argv], signal },
    ...(exitCode === undefined ? {} : { exitCode }),
    ...{ totalBytes: BigInt(totalBytes), firstByte: BigInt(firstByte), openedAtMs: BigInt(openedAtMs) },
  };
}
