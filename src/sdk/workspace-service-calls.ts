import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  PortToPublishSchema,
  ServiceReadinessSchema,
} from "../protocol/gen/pyro/daemon/v1/service_pb.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { CallOptions } from "./call.js";
import type { PortToPublish } from "./network-record.js";
import { toCommandWords } from "./run-options.js";
import {
  toServiceLog,
  toServiceRecord,
  type ServiceLogs,
  type ServiceReadiness,
  type ServiceRecord,
  type ServiceState,
} from "./service-record.js";
import { WorkspaceDiskCalls } from "./workspace-disk-calls.js";

export interface StartServiceOptions {
  readonly workspaceId: string;
  /** 1 to 64 letters, digits, dots, dashes and underscores. */
  readonly serviceName: string;
  /** A line for /bin/sh -lc; exactly one of command and argv. */
  readonly command?: string | undefined;
  readonly argv?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Secrets of the workspace that it is given, each by the name of its variable: {secret: variable}. */
  readonly secretEnv?: Readonly<Record<string, string>> | undefined;
  /** Relative ones lie under /workspace, the default. */
  readonly cwd?: string | undefined;
  /** Left out, it is ready as soon as it is started. */
  readonly readiness?: ServiceReadiness | undefined;
  /** Then it is ended, and has failed; default 30. */
  readonly readyTimeoutSeconds?: number | undefined;
  /** The longest time between two checks; default 500. */
  readonly readyIntervalMs?: number | undefined;
  /** How long this call waits for it to be ready; default until it is, or failed. */
  readonly waitMs?: number | undefined;
  /** Ports of it that this host reaches once it is ready, until it ends. The workspace's policy has to be "egress+published-ports". */
  readonly publishedPorts?: readonly PortToPublish[] | undefined;
}

interface ServiceOptions {
  readonly workspaceId: string;
  readonly serviceName: string;
}

/** The calls about the long-running programs of workspaces. */
export abstract class WorkspaceServiceCalls extends WorkspaceDiskCalls {
  /**
   * Starts a service, and waits until it is ready.
   * @throws {PyroError} SERVICE_EXISTS while one of the name lives; SERVICE_FAILED, with the end of what it wrote, where
   *   it ended before it was ready or was not ready in time; PUBLISHING_NOT_ALLOWED, PORT_PRIVILEGED, PORT_TAKEN,
   *   COMMAND_NOT_FOUND and the like, where nothing was started
   */
  async startService(options: StartServiceOptions, call: CallOptions = {}): Promise<ServiceRecord> {
    const { workspaceId, serviceName, cwd = "", readiness, publishedPorts = [] } = options;
    const request = {
      ...{ workspace: workspaceId, name: serviceName, ...toCommandWords(options), cwd },
      secretEnv: { ...options.secretEnv },
      publishedPorts: publishedPorts.map(toWirePort),
      ...(readiness === undefined ? {} : { readiness: toWireReadiness(readiness, options) }),
      waitMs: Math.min(options.waitMs ?? LIMITS.longestWaitMs, LIMITS.longestWaitMs),
    };
    return await this.client.call(
      "supervisor",
      "starting the service",
      call,
      async (supervisor, { signal }) => toServiceRecord(await supervisor.start(request, { signal })),
    );
  }

  /** All services of a workspace, by name; ended ones stay until their name is used again, or the reset. */
  async listServices(workspaceId: string, call: CallOptions = {}): Promise<readonly ServiceRecord[]> {
    return await this.client.call(
      "supervisor",
      "listing the services",
      call,
      async (supervisor, { signal }) =>
        (await supervisor.list({ workspace: workspaceId }, { signal })).services.map(toServiceRecord),
    );
  }

  /** One service; waits up to `waitMs` while it is starting. @throws {PyroError} SERVICE_NOT_FOUND */
  async statusService(
    { workspaceId, serviceName, waitMs = 0 }: ServiceOptions & { readonly waitMs?: number | undefined },
    call: CallOptions = {},
  ): Promise<ServiceRecord> {
    const request = { workspace: workspaceId, name: serviceName, waitMs };
    return await this.client.call(
      "supervisor",
      "asking for the service",
      call,
      async (supervisor, { signal }) => toServiceRecord(await supervisor.status(request, { signal })),
    );
  }

  /**
   * The newest of what a service wrote: the last 200 lines of each stream, another number of them, or all that is kept
   * (512 KiB of each).
   * @throws {PyroError} SERVICE_NOT_FOUND, also where the logs went with the machine
   */
  async logsService(
    options: ServiceOptions & { readonly tailLines?: number | undefined; readonly all?: boolean | undefined },
    call: CallOptions = {},
  ): Promise<ServiceLogs> {
    const { workspaceId, serviceName, tailLines = 200, all = false } = options;
    if (!Number.isInteger(tailLines) || tailLines < 1 || tailLines > 0xffff_ffff) {
      throw new PyroError("INVALID_ARGUMENT", `tailLines is ${tailLines}`, {
        hint: "give a whole number of lines from 1 on, or all",
      });
    }
    const request = { workspace: workspaceId, name: serviceName, tailLines: all ? 0 : tailLines };
    return await this.client.call(
      "supervisor",
      "reading the service's logs",
      call,
      async (supervisor, { signal }) => {
        const logs = await supervisor.logs(request, { signal });
        return {
          ...{ workspaceId: logs.workspaceId, serviceName: logs.name, state: logs.state as ServiceState },
          ...{ stdout: toServiceLog(logs.stdout), stderr: toServiceLog(logs.stderr) },
          tailLines: all ? null : tailLines,
        };
      },
    );
  }

  /** Ends a service and all that it started; one that has ended stays as it is. @throws {PyroError} SERVICE_NOT_FOUND */
  async stopService(
    { workspaceId, serviceName }: ServiceOptions,
    call: CallOptions = {},
  ): Promise<ServiceRecord> {
    return await this.client.call(
      "supervisor",
      "stopping the service",
      call,
      async (supervisor, { signal }) =>
        toServiceRecord(await supervisor.stop({ workspace: workspaceId, name: serviceName }, { signal })),
    );
  }
}

/** @throws {PyroError} INVALID_ARGUMENT for what is no port: the wire has only whole numbers */
function toWirePort({ guestPort, hostPort }: PortToPublish): MessageInitShape<typeof PortToPublishSchema> {
  for (const port of [guestPort, hostPort ?? 1])
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new PyroError("INVALID_ARGUMENT", `${port} is no port`, {
        hint: "ports are whole numbers from 1 to 65535; leave hostPort out, and the system chooses one",
      });
    }
  return { guestPort, hostPort: hostPort ?? 0 };
}

function toWireReadiness(
  readiness: ServiceReadiness,
  { readyTimeoutSeconds = 30, readyIntervalMs = 500 }: StartServiceOptions,
): MessageInitShape<typeof ServiceReadinessSchema> {
  const times = {
    timeoutMs: Math.round(readyTimeoutSeconds * 1000),
    intervalMs: Math.round(readyIntervalMs),
  };
  switch (readiness.type) {
    case "file":
      return { by: { case: "file", value: readiness.path }, ...times };
    case "tcp":
      return { by: { case: "tcpAddress", value: readiness.address }, ...times };
    case "http":
      return { by: { case: "httpUrl", value: readiness.url }, ...times };
    case "command":
      return { by: { case: "command", value: readiness.command }, ...times };
  }
}
