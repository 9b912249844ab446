import * as z from "zod";
import { LIMITS, PyroError } from "../../protocol/index.js";
import type { ServiceLog, ServiceReadiness, ServiceRecord } from "../../sdk/index.js";
import { field, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatDuration, formatTable, visible, visibleName } from "../text.js";
import { portLine, portRows, portsToPublish, publishedPort, publishingFields } from "./publishing.js";
import { workspaceId } from "./record.js";
import { secretEnvField } from "./secrets.js";
import { SERVICES } from "./tool-sets.js";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const serviceName = (): z.ZodString => z.string().regex(NAME).describe("Name of the service");
const text = (): z.ZodString => z.string().min(1).max(4096);

/** A service, as section 6 of the contract names its fields. */
export const serviceRecord = z.object({
  workspace_id: z.string(),
  service_name: z.string(),
  command: z.string(),
  cwd: z.string(),
  state: z.enum(["starting", "running", "exited", "stopped", "failed"]),
  readiness: z
    .object({
      type: z.enum(["file", "tcp", "http", "command"]),
      path: z.string().optional(),
      address: z.string().optional(),
      url: z.string().optional(),
      command: z.string().optional(),
    })
    .nullable(),
  started_at: z.string(),
  ready_at: z.string().nullable(),
  ended_at: z.string().nullable(),
  exit_code: z.number().nullable(),
  signal: z.string().nullable(),
  out_of_memory: z.boolean(),
  stop_reason: z.string().nullable(),
  failure: z.string().nullable(),
  pid: z.number().nullable(),
  forked: z.boolean(),
  uptime_seconds: z.number(),
  restarts: z.number(),
  published_ports: z.array(publishedPort),
});

type ServiceView = z.output<typeof serviceRecord>;

/** `pyro workspace service start`, `service_start`, `startService`. */
export const serviceStart = defineOperation({
  name: "service_start",
  command: ["workspace", "service", "start"],
  summary: "Start a long-running program in a workspace, and wait until it is ready",
  description:
    "It runs until it ends by itself or is stopped, also when this command, the terminal or the daemon goes away; it ends " +
    "with stop, reset and delete of the workspace, and holds its TTL. At most one of the four --ready options says when it " +
    "is ready; what held before the start counts only once it has ceased to hold. One that is not ready in time is ended. " +
    "One that ends with 0 and leaves processes behind runs on in those. It is not started again by itself. A name is free " +
    "again once its service has ended.",
  profiles: SERVICES,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    service_name: serviceName(),
    command: field.shellLine().describe("Shell line, run by /bin/sh -lc. Exactly one of command and argv"),
    argv: field.argv(),
    cwd: z
      .string()
      .max(4096)
      .optional()
      .describe("Working directory; relative paths lie under /workspace, the default"),
    env: z.record(z.string(), z.string()).default({}).describe("A variable of the service; repeatable"),
    readiness: z
      .strictObject({
        type: z.enum(["file", "tcp", "http", "command"]),
        path: text().optional(),
        address: text().optional(),
        url: text().optional(),
        command: text().optional(),
      })
      .optional()
      .describe("By what it is ready"),
    secret_env: secretEnvField,
    ...publishingFields,
    ready_file: text().optional().describe("It is ready when this file is there; relative to --cwd"),
    ready_tcp: text().optional().describe("… when this address takes connections: HOST:PORT or :PORT"),
    ready_http: text().optional().describe("… when this URL answers with 200 to 399; http only"),
    ready_command: text().optional().describe("… when this shell line ends with 0"),
    ready_timeout_seconds: z
      .int()
      .min(1)
      .max(3600)
      .default(30)
      .describe("It has failed when it is not ready by then"),
    ready_interval_ms: z.int().min(10).max(60_000).default(500).describe("Longest time between two checks"),
  }),
  output: serviceRecord,
  positionals: ["workspace_id", "service_name", "argv"],
  notOnCommandLine: ["command", "readiness", "published_ports"],
  fullOnly: ["secret_env"],
  withPublishing: ["published_ports"],
  notInTool: ["publish", "ready_file", "ready_tcp", "ready_http", "ready_command"],
  examples: [
    {
      command:
        "pyro workspace service start fix-1 web --ready-http http://localhost:8000/ -- python3 -m http.server",
      says: "waits for its first answer",
    },
    {
      command:
        "pyro workspace service start fix-1 worker --ready-file run/ready -- sh -c './worker && touch run/ready'",
      says: "ready by a file",
    },
    {
      command:
        "pyro workspace service start fix-1 web --publish 8080:3000 --ready-http http://localhost:3000/ -- npm start",
      says: "this host reaches it as http://127.0.0.1:8080 until it ends",
    },
  ],
  run: async (given, { pyro, signal, waitMs, onProgress }) => {
    onProgress?.({ message: `${given.service_name} starts`, fraction: null });
    const started = await pyro.startService(
      {
        ...{ workspaceId: given.workspace_id, serviceName: given.service_name },
        ...{ command: given.command, argv: given.argv, cwd: given.cwd, env: given.env },
        secretEnv: given.secret_env,
        publishedPorts: portsToPublish(given),
        readiness: readinessOf(given),
        readyTimeoutSeconds: given.ready_timeout_seconds,
        readyIntervalMs: given.ready_interval_ms,
        waitMs,
      },
      { signal },
    );
    return toServiceView(started);
  },
  render: renderService,
});

/** `pyro workspace service list`, `service_list`, `listServices`. */
export const serviceList = defineOperation({
  name: "service_list",
  command: ["workspace", "service", "list"],
  summary: "List the services of a workspace",
  description: "Ended ones stay until their name is used again, or the reset.",
  profiles: SERVICES,
  kind: "read",
  input: z.strictObject({ workspace_id: workspaceId() }),
  output: z.object({ count: z.number(), running_count: z.number(), services: z.array(serviceRecord) }),
  positionals: ["workspace_id"],
  examples: [{ command: "pyro workspace service list fix-1", says: "with state, pid and uptime" }],
  run: async ({ workspace_id: id }, { pyro, signal }) => {
    const services = (await pyro.listServices(id, { signal })).map(toServiceView);
    const running = services.filter(({ state }) => state === "running");
    return { count: services.length, running_count: running.length, services };
  },
  render: ({ services }) =>
    services.length === 0
      ? "no service was started since the workspace was made or reset"
      : formatTable([
          ["NAME", "STATE", "PID", "UPTIME", "PORTS", "COMMAND"],
          ...services.map((view) => [
            view.service_name,
            stateText(view),
            view.pid === null ? "-" : String(view.pid),
            formatDuration(view.uptime_seconds * 1000),
            view.published_ports.map((port) => portLine(port)).join(", ") || "-",
            visibleName(view.command.split("\n")[0]?.slice(0, 100) ?? ""),
          ]),
        ]),
});

/** `pyro workspace service status`, `service_status`, `statusService`. */
export const serviceStatus = defineOperation({
  name: "service_status",
  command: ["workspace", "service", "status"],
  summary: "Show one service of a workspace",
  description: "",
  profiles: SERVICES,
  kind: "read",
  input: z.strictObject({
    workspace_id: workspaceId(),
    service_name: serviceName(),
    wait_seconds: z
      .int()
      .min(0)
      .max(LIMITS.mcpBlockMs / 1000)
      .default(0)
      .describe("Wait up to this long while it is starting"),
  }),
  output: serviceRecord,
  positionals: ["workspace_id", "service_name"],
  examples: [
    { command: "pyro workspace service status fix-1 web", says: "whether it is ready, and since when" },
  ],
  run: async (given, { pyro, signal, waitMs = Number.POSITIVE_INFINITY }) => {
    const { workspace_id: id, service_name: name, wait_seconds: seconds } = given;
    const wait = Math.min(seconds * 1000, waitMs);
    return toServiceView(
      await pyro.statusService({ workspaceId: id, serviceName: name, waitMs: wait }, { signal }),
    );
  },
  render: renderService,
});

const logInput = z.strictObject({
  workspace_id: workspaceId(),
  service_name: serviceName(),
  tail_lines: z.int().min(1).max(1_000_000).default(200).describe("Newest lines of each stream"),
  all: z.boolean().default(false).describe("All that is kept"),
  max_bytes: z.int().min(1).max(65_536).default(65_536).describe("Most bytes to show"),
});

/** `pyro workspace service logs`, `service_logs`, `logsService`. */
export const serviceLogs = defineOperation({
  name: "service_logs",
  command: ["workspace", "service", "logs"],
  summary: "Show what a service of a workspace wrote",
  description:
    "Its output and its errors are kept apart: the newest 512 KiB of each, in the memory of the machine, with which they end.",
  profiles: SERVICES,
  kind: "read",
  input: logInput,
  output: z.object({
    workspace_id: z.string(),
    service_name: z.string(),
    state: z.string(),
    stdout: z.string(),
    stderr: z.string(),
    tail_lines: z.number().nullable(),
    truncated: z.boolean(),
    stdout_bytes: z.number(),
    stderr_bytes: z.number(),
    stdout_dropped_bytes: z.number(),
    stderr_dropped_bytes: z.number(),
  }),
  positionals: ["workspace_id", "service_name"],
  notOnCommandLine: ["max_bytes"],
  examples: [{ command: "pyro workspace service logs fix-1 web --tail-lines 50", says: "the newest lines" }],
  run: async (given, { pyro, signal }) => {
    const { workspace_id: workspace, service_name: name, tail_lines: tailLines, all } = given;
    const options = { workspaceId: workspace, serviceName: name, tailLines, all };
    const { stdout, stderr, ...logs } = await pyro.logsService(options, { signal });
    return {
      ...{ workspace_id: logs.workspaceId, service_name: logs.serviceName, state: logs.state },
      ...{ stdout: Buffer.from(stdout.data).toString(), stderr: Buffer.from(stderr.data).toString() },
      tail_lines: logs.tailLines,
      truncated: isTruncated(stdout) || isTruncated(stderr),
      ...{ stdout_bytes: stdout.totalBytes, stderr_bytes: stderr.totalBytes },
      ...{ stdout_dropped_bytes: stdout.droppedBytes, stderr_dropped_bytes: stderr.droppedBytes },
    };
  },
  render: (view) =>
    [
      ...streamLines("stdout", view.stdout, view.stdout_bytes, view.stdout_dropped_bytes),
      ...streamLines("stderr", view.stderr, view.stderr_bytes, view.stderr_dropped_bytes),
    ].join("\n"),
});

/** `pyro workspace service stop`, `service_stop`, `stopService`. */
export const serviceStop = defineOperation({
  name: "service_stop",
  command: ["workspace", "service", "stop"],
  summary: "Stop a service of a workspace, with all it started",
  description: "TERM to all of it, 5 s later KILL. Its logs stay.",
  profiles: SERVICES,
  kind: "write",
  input: z.strictObject({ workspace_id: workspaceId(), service_name: serviceName() }),
  output: serviceRecord,
  positionals: ["workspace_id", "service_name"],
  examples: [{ command: "pyro workspace service stop fix-1 web", says: "the name is free again" }],
  run: async ({ workspace_id: id, service_name: name }, { pyro, signal }) =>
    toServiceView(await pyro.stopService({ workspaceId: id, serviceName: name }, { signal })),
  render: renderService,
});

/** The SDK's record with the contract's field names. */
export function toServiceView(record: ServiceRecord): ServiceView {
  return serviceRecord.parse(snakeKeys(record));
}

/** Whether there is more than is shown. */
function isTruncated({ droppedBytes, aboveBytes }: ServiceLog): boolean {
  return droppedBytes + aboveBytes > 0;
}

/** A service in one line, for reviews. */
export function serviceLine(view: ServiceView): string {
  const command = visibleName(view.command.split("\n")[0]?.slice(0, 100) ?? "");
  return `${view.service_name}  ${stateText(view)}  ${command}`;
}

type ReadinessInput = Pick<
  z.input<typeof serviceStart.input>,
  "readiness" | "ready_file" | "ready_tcp" | "ready_http" | "ready_command"
>;

/** At most one of all that is given. */
function readinessOf(given: ReadinessInput): ServiceReadiness | undefined {
  const { ready_file: path, ready_tcp: address, ready_http: url, ready_command: command } = given;
  const asked: ServiceReadiness[] = [
    ...(path === undefined ? [] : [{ type: "file", path } as const]),
    ...(address === undefined ? [] : [{ type: "tcp", address } as const]),
    ...(url === undefined ? [] : [{ type: "http", url } as const]),
    ...(command === undefined ? [] : [{ type: "command", command } as const]),
    ...(given.readiness === undefined ? [] : [oneOf(given.readiness)]),
  ];
  if (asked.length <= 1) return asked[0];
  throw new PyroError("INVALID_ARGUMENT", `${asked.length} kinds of readiness are given`, {
    hint: "give one of --ready-file, --ready-tcp, --ready-http and --ready-command",
  });
}

/** The flat object of a tool: the field that belongs to its type, and none else. */
function oneOf({ type, ...fields }: NonNullable<ReadinessInput["readiness"]>): ServiceReadiness {
  const wanted = { file: "path", tcp: "address", http: "url", command: "command" }[type];
  const given = Object.keys(fields).filter((name) => fields[name as keyof typeof fields] !== undefined);
  if (given.length !== 1 || given[0] !== wanted) {
    throw new PyroError(
      "INVALID_ARGUMENT",
      `readiness of type ${type} is given ${given.length === 0 ? "nothing" : given.join(", ")}`,
      { hint: `write {"type": "${type}", "${wanted}": "…"}` },
    );
  }
  return { type, ...fields } as ServiceReadiness;
}

function stateText({ state, exit_code: code, signal, stop_reason: reason }: ServiceView): string {
  if (state === "exited") return signal === null ? `exited ${code ?? "?"}` : `exited ${signal}`;
  return state === "stopped" && reason !== "requested" ? `stopped (${reason ?? "?"})` : state;
}

function renderService(view: ServiceView): string {
  const { readiness, failure } = view;
  const by = readiness?.path ?? readiness?.address ?? readiness?.url ?? readiness?.command;
  return formatTable([
    ["service", view.service_name],
    ["state", stateText(view)],
    ...(failure === null ? [] : [["failure", visibleName(failure)]]),
    ...(view.out_of_memory ? [["memory", "the kernel killed some of it for want of memory"]] : []),
    ["command", visibleName(view.command)],
    ["directory", visibleName(view.cwd)],
    ...(readiness === null ? [] : [["ready by", visibleName(`${readiness.type} ${by ?? ""}`)]]),
    ...(view.pid === null ? [] : [["pid", String(view.pid)]]),
    ...portRows(view.published_ports),
    ...(view.forked ? [["forked", "its first process ended, others of it live on"]] : []),
    ["started", view.started_at],
    ...(view.ready_at === null ? [] : [["ready", view.ready_at]]),
    ...(view.ended_at === null ? [] : [["ended", view.ended_at]]),
    ["uptime", formatDuration(view.uptime_seconds * 1000)],
  ]);
}

function streamLines(name: string, content: string, total: number, dropped: number): string[] {
  if (total === 0) return [`[${name}: nothing]`];
  const kept = dropped === 0 ? "" : `, the first ${formatBytes(dropped)} are not kept`;
  return [
    visible(content.replace(/\n$/, "")),
    `[${name}: ${Buffer.byteLength(content)} of ${total} bytes${kept}]`,
  ];
}
