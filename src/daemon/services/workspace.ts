import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type {
  CreateWorkspaceRequest,
  UpdateWorkspaceRequest,
  WorkspaceSchema,
  WorkspaceService,
} from "../../protocol/gen/pyro/daemon/v1/workspace_pb.js";
import { DEFAULT_MACHINE, LIMITS, PyroError } from "../../protocol/index.js";
import {
  BASELINE,
  layersOf,
  type NewWorkspace,
  type Operation,
  type SeedSource,
  type Seeding,
  type Workspace,
  type Workspaces,
} from "../../workspace/index.js";
import { bounded } from "./bounded.js";
import { commandCalls } from "./workspace-commands.js";
import { toPolicy } from "./network.js";
import { withRedactedErrors } from "./redacted-errors.js";
import { fileCalls } from "./workspace-files.js";
import { transferCalls } from "./workspace-transfers.js";
import { requireName, toWorkspace, waitOf } from "./workspace-view.js";

/** Life of a workspace where the caller says none. */
const DEFAULT_TTL_SECONDS = 600;
const LABELS_MAX = 64;

type LifeCycle = Pick<
  ServiceImpl<typeof WorkspaceService>,
  "create" | "list" | "status" | "update" | "delete" | "start" | "stop" | "fork" | "reset"
>;

/** The WorkspaceService. */
export function workspaceService(
  workspaces: Workspaces,
  seeding: Seeding,
): ServiceImpl<typeof WorkspaceService> {
  const service = {
    ...lifeCycleCalls(workspaces, seeding),
    ...commandCalls(workspaces),
    ...fileCalls(workspaces),
    ...transferCalls(workspaces, seeding),
  };
  return withRedactedErrors(service, workspaces);
}

function lifeCycleCalls(workspaces: Workspaces, seeding: Seeding): LifeCycle {
  /** Waits for an operation of this call; its error is this call's, if it comes in time. */
  const finish = async (
    workspace: Workspace,
    operation: Operation<unknown>,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<MessageInitShape<typeof WorkspaceSchema>> => {
    await operation.settle(waitOf(waitMs), signal);
    if (!operation.isRunning) await operation.result;
    return toWorkspace(workspace);
  };
  return {
    create: async (request, { signal }) => {
      const populate = seeding.from(toSeedSource(request.seed));
      const workspace = await workspaces.create(toNew(request), populate);
      await workspace.settle(waitOf(request.waitMs), signal);
      return toWorkspace(workspace);
    },
    list: () => ({ workspaces: workspaces.all.map(toWorkspace) }),
    status: async ({ workspace: reference, waitMs }, { signal }) => {
      const workspace = workspaces.find(reference);
      await workspace.settle(waitOf(waitMs), signal);
      return toWorkspace(workspace);
    },
    update: async (request) => {
      const workspace = workspaces.find(request.workspace);
      await workspace.update(toChange(workspace, request));
      return toWorkspace(workspace);
    },
    delete: async ({ workspace: reference }) => {
      const workspace = workspaces.find(reference);
      await workspaces.delete(workspace);
      return { workspaceId: workspace.id };
    },
    start: async ({ workspace: reference, waitMs }, { signal }) => {
      const workspace = workspaces.find(reference);
      return await finish(workspace, workspace.start(), waitMs, signal);
    },
    stop: async ({ workspace: reference, waitMs, suspend, allowSecrets }, { signal }) => {
      const workspace = workspaces.find(reference);
      const operation = suspend ? workspace.suspend("user", allowSecrets) : workspace.stop("user");
      return await finish(workspace, operation, waitMs, signal);
    },
    fork: async ({ workspace: reference, waitMs, count, namePrefix, allowSecrets }, { signal }) => {
      const workspace = workspaces.find(reference);
      const prefix = namePrefix === "" ? null : requireName("name prefix", namePrefix);
      // A name is the prefix and at most "-16".
      if (prefix !== null) requireName("name", `${prefix}-00`);
      const children = await workspaces.fork(
        workspace,
        { count: count || 1, namePrefix: prefix, allowSecrets },
        signal,
      );
      await Promise.all(children.map(async (child) => await child.settle(waitOf(waitMs), signal)));
      return { sourceWorkspaceId: workspace.id, children: children.map(toWorkspace) };
    },
    reset: async ({ workspace: reference, waitMs, snapshot }, { signal }) => {
      const workspace = workspaces.find(reference);
      // Known before anything waits.
      layersOf(workspace.record, snapshot || BASELINE);
      return await finish(workspace, workspace.reset(snapshot || BASELINE), waitMs, signal);
    },
  };
}

/** @throws {PyroError} INVALID_ARGUMENT */
function toSeedSource(seed: CreateWorkspaceRequest["seed"]): SeedSource {
  const source = seed?.source;
  switch (source?.case) {
    case "path":
      return { kind: "path", path: source.value };
    case "project":
      return { kind: "project", path: source.value.path, include: source.value.include };
    case "repository": {
      const { url, ref } = source.value;
      return { kind: "repository", url, ...(ref === "" ? {} : { ref }) };
    }
    case undefined:
      return { kind: "empty" };
  }
}

/** @throws {PyroError} INVALID_ARGUMENT */
function toNew(request: CreateWorkspaceRequest): NewWorkspace {
  if (request.environment === "") {
    throw new PyroError("INVALID_ARGUMENT", "no environment is given", {
      hint: "`pyro env list` shows them",
    });
  }
  const { vcpuCount, memMib } = DEFAULT_MACHINE;
  return {
    environment: request.environment,
    name: request.name === "" ? null : requireName("name", request.name),
    labels: requireLabels(request.labels),
    vcpuCount: bounded("vcpu_count", request.vcpuCount || vcpuCount, 1, LIMITS.vcpuCountMax),
    memMib: bounded("mem_mib", request.memMib || memMib, LIMITS.memMibMin, LIMITS.memMibMax),
    ttlSeconds: bounded("ttl_seconds", request.ttlSeconds || DEFAULT_TTL_SECONDS, 1, LIMITS.longestSeconds),
    noPull: request.noPull,
    secrets: request.secrets,
    network: toPolicy(request.network),
  };
}

function toChange(
  { record }: Workspace,
  { name, clearName, labels, clearLabels }: UpdateWorkspaceRequest,
): Parameters<Workspace["update"]>[0] {
  if (name !== undefined && clearName) {
    throw new PyroError("INVALID_ARGUMENT", "a name is given and to be cleared", {
      hint: "give one of them",
    });
  }
  const kept = Object.entries(record.labels).filter(([label]) => !clearLabels.includes(label));
  return {
    labels: requireLabels({ ...Object.fromEntries(kept), ...labels }),
    ...(clearName ? { name: null } : name === undefined ? {} : { name: requireName("name", name) }),
  };
}

function requireLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(labels);
  if (entries.length > LABELS_MAX) {
    throw new PyroError("INVALID_ARGUMENT", `there are ${entries.length} labels`, {
      hint: `at most ${LABELS_MAX} are kept`,
    });
  }
  for (const [label, value] of entries) {
    requireName("label", label);
    if (value.length > 256 || value.includes("\0")) {
      throw new PyroError("INVALID_ARGUMENT", `the value of label ${label} is too long or holds a NUL`, {
        hint: "at most 256 characters",
      });
    }
  }
  return { ...labels };
}
