import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type {
  ServiceLogSchema,
  ServiceReadiness,
  ServiceReadinessSchema,
  ServiceSchema,
  SupervisorService,
} from "../../protocol/gen/pyro/daemon/v1/service_pb.js";
import {
  listServices,
  serviceLogs,
  serviceStatus,
  startService,
  stopService,
  type Readiness,
  type ServiceFacts,
  type ServiceLog,
  type Workspace,
  type Workspaces,
} from "../../workspace/index.js";
import { toPublishedPort } from "./network.js";
import { withRedactedErrors } from "./redacted-errors.js";
import { waitOf } from "./workspace-view.js";

/** The SupervisorService: long-running programs of workspaces. */
export function supervisorService(workspaces: Workspaces): ServiceImpl<typeof SupervisorService> {
  return withRedactedErrors(supervisorCalls(workspaces), workspaces);
}

function supervisorCalls(workspaces: Workspaces): ServiceImpl<typeof SupervisorService> {
  return {
    start: async (request, { signal }) => {
      const workspace = workspaces.find(request.workspace);
      const { name, argv, command, env, cwd, secretEnv, publishedPorts } = request;
      const readiness = fromReadiness(request.readiness);
      const wait = { waitMs: waitOf(request.waitMs), signal };
      const spec = { name, argv, command, env, cwd, readiness, secretEnv, publishedPorts };
      return toService(workspace, await startService(workspace, spec, wait));
    },
    list: async ({ workspace: reference }, { signal }) => {
      const workspace = workspaces.find(reference);
      const services = await listServices(workspace, signal);
      return { workspaceId: workspace.id, services: services.map((facts) => toService(workspace, facts)) };
    },
    status: async ({ workspace: reference, name, waitMs }, { signal }) => {
      const workspace = workspaces.find(reference);
      return toService(workspace, await serviceStatus(workspace, name, { waitMs: waitOf(waitMs), signal }));
    },
    logs: async ({ workspace: reference, name, tailLines }, { signal }) => {
      const workspace = workspaces.find(reference);
      const wanted = { tailLines: tailLines === 0 ? undefined : tailLines, signal };
      const { facts, stdout, stderr } = await serviceLogs(workspace, name, wanted);
      return {
        ...{ workspaceId: workspace.id, name, state: facts.state },
        ...{ stdout: toLog(stdout), stderr: toLog(stderr) },
      };
    },
    stop: async ({ workspace: reference, name }, { signal }) => {
      const workspace = workspaces.find(reference);
      return toService(workspace, await stopService(workspace, name, signal));
    },
  };
}

/** A service as the wire carries it. */
export function toService(
  { id, ports }: Workspace,
  facts: ServiceFacts,
): MessageInitShape<typeof ServiceSchema> {
  const { name, command, cwd, readiness, state, exitCode, signal, failure, outOfMemory, forked } = facts;
  const until = facts.endedAtMs ?? Date.now();
  return {
    ...{ workspaceId: id, name, command, cwd, state, failure, outOfMemory, forked, signal: signal ?? "" },
    ...(readiness === undefined ? {} : { readiness: toReadiness(readiness) }),
    ...(exitCode === undefined ? {} : { exitCode }),
    stopReason: facts.stopReason ?? "",
    startedAtMs: toTime(facts.startedAtMs),
    readyAtMs: toTime(facts.readyAtMs),
    endedAtMs: toTime(facts.endedAtMs),
    pid: facts.pid ?? 0,
    uptimeMs: toTime(Math.max(0, until - facts.startedAtMs)),
    restarts: 0,
    publishedPorts: ports.of(facts).map(toPublishedPort),
  };
}

function toTime(ms: number | undefined): bigint {
  return BigInt(Math.trunc(ms ?? 0));
}

function toLog({ data, ...bytes }: ServiceLog): MessageInitShape<typeof ServiceLogSchema> {
  return {
    data,
    totalBytes: BigInt(bytes.totalBytes),
    droppedBytes: BigInt(bytes.droppedBytes),
    aboveBytes: BigInt(bytes.aboveBytes),
  };
}

const CASES = { file: "file", tcp: "tcpAddress", http: "httpUrl", command: "command" } as const;
const TYPES = { file: "file", tcpAddress: "tcp", httpUrl: "http", command: "command" } as const;

function toReadiness({ type, value, ...times }: Readiness): MessageInitShape<typeof ServiceReadinessSchema> {
  return { by: { case: CASES[type], value }, ...times };
}

function fromReadiness(readiness: ServiceReadiness | undefined): Readiness | undefined {
  if (readiness?.by.case === undefined) return undefined;
  const { by, timeoutMs, intervalMs } = readiness;
  return { type: TYPES[by.case], value: by.value, timeoutMs, intervalMs };
}
