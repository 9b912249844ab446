import { LIMITS, type PyroError } from "../protocol/index.js";
import type { Workspace as WireWorkspace } from "../protocol/gen/pyro/daemon/v1/workspace_pb.js";
import type { CallOptions } from "./call.js";
import type { ServiceClient } from "./services.js";
import { DaemonClient, type DaemonClientOptions } from "./daemon-client.js";
import { networkRulesOf, type NetworkOptions } from "./network-record.js";
import { toCommandSpec, type ExecStream, type ExecWorkspaceOptions } from "./workspace-exec.js";
import { execStream } from "./workspace-exec-stream.js";
import { toSecretValues, type SecretSource } from "./workspace-secrets.js";
import { toSeedSource, type WorkspaceSource } from "./workspace-source.js";
import {
  toWorkspaceCommand,
  toWorkspaceRecord,
  type WorkspaceCommandRecord,
  type WorkspaceRecord,
} from "./workspace-record.js";

/** A new workspace. */
export interface CreateWorkspaceOptions {
  /** For example "debian:12". */
  readonly environment: string;
  /** Where its files come from; left out, it is empty. */
  readonly source?: WorkspaceSource | undefined;
  readonly name?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly vcpuCount?: number | undefined;
  readonly memMib?: number | undefined;
  /** It is stopped, with its disk kept, after this long without activity; default 600 s. */
  readonly ttlSeconds?: number | undefined;
  readonly noPull?: boolean | undefined;
  /** What its processes may be given by `secretEnv`; the values are kept by the daemon and shown nowhere. */
  readonly secrets?: readonly SecretSource[] | undefined;
  /** What it may reach; left out: nothing. */
  readonly network?: NetworkOptions | undefined;
}

/** How long a call that starts something waits for it. */
export interface WaitOptions {
  /**
   * Default: until it is done. Otherwise the record that comes back says in `operation` how far it is, and
   * `statusWorkspace` waits for the rest.
   */
  readonly waitMs?: number | undefined;
  /** Hears how far it is, while this call waits. */
  readonly onProgress?: ((record: WorkspaceRecord) => void) | undefined;
}

/** A window of a command's output. */
export interface LogsOptions {
  readonly workspaceId: string;
  readonly sequence: number;
  readonly offset?: number | undefined;
  /** At most 65,536, which is the default. */
  readonly maxBytes?: number | undefined;
  /** Waits up to this long for its end; default 0. */
  readonly waitMs?: number | undefined;
}

/** How long one look at a workspace waits, where its progress is followed. */
const LOOK_MS = 500;
const NO_BOUND = Number.POSITIVE_INFINITY;

type Begin = (
  workspace: ServiceClient<"workspace">,
  waitMs: number,
  signal: AbortSignal,
) => Promise<WireWorkspace>;

/** The calls about workspaces. Wherever a workspace is named, an id, a unique prefix of one or a unique name does. */
export abstract class WorkspaceCalls {
  /** @internal the daemon that is asked */
  protected readonly client: DaemonClient;

  constructor(options: DaemonClientOptions = {}) {
    this.client = new DaemonClient(options);
  }

  /**
   * Makes and starts a workspace. Of one that could not be made nothing stays: its error is thrown here. Where the
   * caller does not wait that long, it stays as `failed`, and says why.
   */
  async createWorkspace(
    options: CreateWorkspaceOptions & WaitOptions,
    call: CallOptions = {},
  ): Promise<WorkspaceRecord> {
    const {
      environment,
      source,
      name = "",
      labels = {},
      vcpuCount = 0,
      memMib = 0,
      ttlSeconds = 0,
    } = options;
    const seed = source === undefined ? {} : { seed: toSeedSource(source) };
    const secrets = await toSecretValues(options.secrets ?? []);
    const shape = { environment, name, labels, vcpuCount, memMib, ttlSeconds };
    const request = { ...shape, secrets, ...seed, ...networkRulesOf(options.network) };
    const created = await this.#follow("creating the workspace", options, call, (workspace, waitMs, signal) =>
      workspace.create({ ...request, noPull: options.noPull ?? false, waitMs }, { signal }),
    );
    const failure = failureOf(created);
    if (failure === undefined) return created;
    await this.deleteWorkspace(created.workspaceId, call).catch(() => undefined);
    throw failure;
  }

  /** All workspaces, the last active first. */
  async listWorkspaces(call: CallOptions = {}): Promise<readonly WorkspaceRecord[]> {
    return await this.client.call(
      "workspace",
      "listing the workspaces",
      call,
      async (workspace, { signal }) =>
        (await workspace.list({}, { signal })).workspaces.map(toWorkspaceRecord),
    );
  }

  /** One workspace; waits up to `waitMs` for what goes on in it. */
  async statusWorkspace(
    workspaceId: string,
    options: { readonly waitMs?: number | undefined } = {},
    call: CallOptions = {},
  ): Promise<WorkspaceRecord> {
    const request = { workspace: workspaceId, waitMs: options.waitMs ?? 0 };
    return await this.client.call(
      "workspace",
      "asking for the workspace",
      call,
      async (workspace, { signal }) => toWorkspaceRecord(await workspace.status(request, { signal })),
    );
  }

  /** Changes name and labels. */
  async updateWorkspace(
    options: {
      readonly workspaceId: string;
      readonly name?: string | undefined;
      readonly clearName?: boolean | undefined;
      readonly labels?: Readonly<Record<string, string>> | undefined;
      readonly clearLabels?: readonly string[] | undefined;
    },
    call: CallOptions = {},
  ): Promise<WorkspaceRecord> {
    const { workspaceId, name, clearName = false, labels = {}, clearLabels = [] } = options;
    const named = name === undefined ? {} : { name };
    const request = { workspace: workspaceId, ...named, clearName, labels, clearLabels: [...clearLabels] };
    return await this.client.call(
      "workspace",
      "updating the workspace",
      call,
      async (workspace, { signal }) => toWorkspaceRecord(await workspace.update(request, { signal })),
    );
  }

  /** Ends a workspace and all that runs in it, and removes it. */
  async deleteWorkspace(workspaceId: string, call: CallOptions = {}): Promise<{ workspaceId: string }> {
    return await this.client.call(
      "workspace",
      "deleting the workspace",
      call,
      async (workspace, { signal }) => {
        const deleted = await workspace.delete({ workspace: workspaceId }, { signal });
        return { workspaceId: deleted.workspaceId };
      },
    );
  }

  /** Starts a stopped workspace over what its disk holds, and a suspended one where it was. */
  async startWorkspace(
    workspaceId: string,
    options: WaitOptions = {},
    call: CallOptions = {},
  ): Promise<WorkspaceRecord> {
    return await this.#begin("starting the workspace", options, call, (workspace, waitMs, signal) =>
      workspace.start({ workspace: workspaceId, waitMs }, { signal }),
    );
  }

  /**
   * Flushes the workspace's disk and ends its machine, with all commands.
   * @throws {PyroError} with `suspend`: SECRET_IN_MEMORY, VM_SAVE_FAILED, DISK_FULL; it runs on then
   */
  async stopWorkspace(
    workspaceId: string,
    options: WaitOptions & {
      /** Keeps its memory on the disk: a start lets it go on where it was, commands and all. Default false. */
      readonly suspend?: boolean | undefined;
      /** With `suspend`: also while a live process holds a secret, which is on the disk then. Default false. */
      readonly allowSecrets?: boolean | undefined;
    } = {},
    call: CallOptions = {},
  ): Promise<WorkspaceRecord> {
    const { suspend = false, allowSecrets = false } = options;
    return await this.#begin("stopping the workspace", options, call, (workspace, waitMs, signal) =>
      workspace.stop({ workspace: workspaceId, waitMs, suspend, allowSecrets }, { signal }),
    );
  }

  /**
   * Rebuilds the whole sandbox, and clears the history.
   * @throws {PyroError} SNAPSHOT_NOT_FOUND
   */
  async resetWorkspace(
    workspaceId: string,
    options: WaitOptions & {
      /** Default "baseline": as it was created. */
      readonly snapshot?: string | undefined;
    } = {},
    call: CallOptions = {},
  ): Promise<WorkspaceRecord> {
    const { snapshot = "" } = options;
    return await this.#begin("resetting the workspace", options, call, (workspace, waitMs, signal) =>
      workspace.reset({ workspace: workspaceId, waitMs, snapshot }, { signal }),
    );
  }

  /**
   * Makes running copies of a running workspace, processes and memory included. Each child has its own outcome: one that
   * could not be made is "failed" and says why.
   * @throws {PyroError} WORKSPACE_STOPPED, SECRET_IN_MEMORY, VM_SAVE_FAILED, MEMORY_FULL, DISK_FULL: there are no children then
   */
  async forkWorkspace(
    workspaceId: string,
    options: {
      /** Default 1. */
      readonly count?: number | undefined;
      /** Children are named by it and "-1", "-2", …; without it they have no names. */
      readonly namePrefix?: string | undefined;
      /** Also while a live process holds a secret, which is in each child's memory then. Default false. */
      readonly allowSecrets?: boolean | undefined;
      /** Waits at most so long for the children; by default until each runs or failed. */
      readonly waitMs?: number | undefined;
    } = {},
    call: CallOptions = {},
  ): Promise<{ readonly sourceWorkspaceId: string; readonly children: readonly WorkspaceRecord[] }> {
    const { count = 1, namePrefix = "", allowSecrets = false, waitMs = NO_BOUND } = options;
    const deadline = performance.now() + waitMs;
    const forked = await this.client.call(
      "workspace",
      "forking the workspace",
      call,
      async (workspace, { signal }) =>
        workspace.fork({ workspace: workspaceId, count, namePrefix, allowSecrets, waitMs: 0 }, { signal }),
    );
    const children = forked.children.map(async (child) => {
      let record = toWorkspaceRecord(child);
      for (;;) {
        const leftMs = Math.round(Math.min(LOOK_MS, deadline - performance.now()));
        if (record.operation?.state !== "running" || leftMs <= 0) return record;
        record = await this.statusWorkspace(record.workspaceId, { waitMs: leftMs }, call);
      }
    });
    return { sourceWorkspaceId: forked.sourceWorkspaceId, children: await Promise.all(children) };
  }

  // ------------------------------------------------------------------ commands

  /**
   * Starts a command with its output as it comes. It goes on when the daemon dies; the stream then reads on through the
   * next one.
   */
  streamWorkspaceExec(options: ExecWorkspaceOptions, call: CallOptions = {}): ExecStream {
    return execStream(this.client, options, call);
  }

  /** Starts a command and waits for its end; with `waitMs` at most so long: it goes on, and `logsWorkspace` follows it. */
  async execWorkspace(
    options: Omit<ExecWorkspaceOptions, "stdin"> & {
      readonly waitMs?: number | undefined;
      readonly maxBytes?: number;
    },
    call: CallOptions = {},
  ): Promise<WorkspaceCommandRecord> {
    const spec = toCommandSpec(options);
    const { waitMs = NO_BOUND, maxBytes = 65_536 } = options;
    const first = Math.min(waitMs, LIMITS.mcpBlockMs);
    const started = await this.client.call("workspace", "the command", call, async (workspace, { signal }) =>
      toWorkspaceCommand(await workspace.startCommand({ spec, waitMs: first, maxBytes }, { signal })),
    );
    if (started.state === "done" || waitMs <= first) return started;
    const { workspaceId, sequence } = started;
    return await this.logsWorkspace({ workspaceId, sequence, maxBytes, waitMs: waitMs - first }, call);
  }

  /** A command, and a window of its output. */
  async logsWorkspace(options: LogsOptions, call: CallOptions = {}): Promise<WorkspaceCommandRecord> {
    const { workspaceId, sequence, offset = 0, maxBytes = 65_536, waitMs = 0 } = options;
    for (let left = waitMs; ; left -= LIMITS.mcpBlockMs) {
      const request = {
        ...{ workspace: workspaceId, sequence, offset: BigInt(offset), maxBytes },
        waitMs: Math.max(0, Math.min(left, LIMITS.mcpBlockMs)),
      };
      const read = await this.client.call(
        "workspace",
        "reading the command",
        call,
        async (workspace, { signal }) => toWorkspaceCommand(await workspace.readCommand(request, { signal })),
      );
      if (read.state === "done" || left <= LIMITS.mcpBlockMs) return read;
    }
  }

  /** The commands since the last reset, in order, without their output. */
  async listWorkspaceCommands(
    workspaceId: string,
    call: CallOptions = {},
  ): Promise<readonly WorkspaceCommandRecord[]> {
    return await this.client.call("workspace", "listing the commands", call, async (workspace, { signal }) =>
      (await workspace.listCommands({ workspace: workspaceId }, { signal })).commands.map(toWorkspaceCommand),
    );
  }

  /** Ends a command and all that it started; one that is over stays as it is. */
  async cancelWorkspaceCommand(
    workspaceId: string,
    sequence: number,
    call: CallOptions = {},
  ): Promise<WorkspaceCommandRecord> {
    const request = { workspace: workspaceId, sequence };
    return await this.client.call(
      "workspace",
      "cancelling the command",
      call,
      async (workspace, { signal }) => toWorkspaceCommand(await workspace.cancelCommand(request, { signal })),
    );
  }

  /** Begins an operation, and follows it as long as the caller waits; its failure is thrown. */
  async #begin(
    what: string,
    options: WaitOptions,
    call: CallOptions,
    begin: Begin,
  ): Promise<WorkspaceRecord> {
    const record = await this.#follow(what, options, call, begin);
    const failure = failureOf(record);
    if (failure !== undefined) throw failure;
    return record;
  }

  async #follow(
    what: string,
    { waitMs = NO_BOUND, onProgress }: WaitOptions,
    call: CallOptions,
    begin: Begin,
  ): Promise<WorkspaceRecord> {
    const deadline = performance.now() + waitMs;
    const next = (): number => Math.round(Math.max(0, Math.min(LOOK_MS, deadline - performance.now())));
    let record = await this.client.call("workspace", what, call, async (workspace, { signal }) =>
      toWorkspaceRecord(await begin(workspace, next(), signal)),
    );
    while (record.operation?.state === "running" && performance.now() < deadline) {
      onProgress?.(record);
      record = await this.statusWorkspace(record.workspaceId, { waitMs: next() }, call);
    }
    return record;
  }
}

/** Why what was waited for failed, if it did. */
function failureOf({ operation }: WorkspaceRecord): PyroError | undefined {
  return operation?.state === "failed" ? (operation.error ?? undefined) : undefined;
}
