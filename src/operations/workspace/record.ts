import * as z from "zod";
import type { PyroError } from "../../protocol/index.js";
import type { WorkspaceCommandRecord, WorkspaceOperation, WorkspaceRecord } from "../../sdk/index.js";
import { isolation, snakeKeys } from "../fields.js";
import { formatCount, formatTable, visible } from "../text.js";
import { renderTransfer, transferRecord } from "./transfer-record.js";

/** Ids, unique prefixes of ids and unique names are all good. */
export const workspaceId = (): z.ZodString =>
  z.string().min(1).max(128).describe("Id of the workspace, a unique prefix of one, or a unique name");

const failureRecord = z.object({ code: z.string(), message: z.string(), hint: z.string() });

/** A command of a workspace, as section 6 of the contract names its fields; without its output. */
export const workspaceCommandRecord = z.object({
  workspace_id: z.string(),
  sequence: z.number(),
  command: z.string(),
  cwd: z.string(),
  state: z.enum(["running", "done"]),
  started_at: z.string(),
  exit_code: z.number().nullable(),
  signal: z.string().nullable(),
  timed_out: z.boolean(),
  out_of_memory: z.boolean(),
  duration_ms: z.number().nullable(),
  interrupted: z.string().nullable(),
  network_refusal: z.string().nullable(),
});

/** A workspace, as section 6 of the contract names its fields. */
export const workspaceRecord = z.object({
  workspace_id: z.string(),
  name: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
  environment: z.string(),
  state: z.enum(["creating", "started", "stopped", "suspended", "resetting", "failed"]),
  isolation: isolation.nullable(),
  network_policy: z.enum(["off", "egress", "egress+published-ports"]),
  workspace_path: z.string(),
  workspace_seed: z.object({
    mode: z.enum(["empty", "directory", "tar_archive"]),
    seed_path: z.string().nullable(),
    origin_kind: z.string(),
    origin_ref: z.string().nullable(),
    entry_count: z.number(),
    bytes: z.number(),
  }),
  secrets: z.array(z.object({ name: z.string(), source_kind: z.string() })),
  vcpu_count: z.number(),
  mem_mib: z.number(),
  created_at: z.string(),
  expires_at: z.string(),
  last_activity_at: z.string(),
  command_count: z.number(),
  running_command_count: z.number(),
  last_command: workspaceCommandRecord.nullable(),
  service_count: z.number(),
  running_service_count: z.number(),
  reset: z.object({ count: z.number(), at: z.string().nullable(), snapshot: z.string().nullable() }),
  operation: z
    .object({
      kind: z.string(),
      state: z.enum(["running", "done", "failed"]),
      message: z.string(),
      progress: z.number().nullable(),
      error: failureRecord.nullable(),
      result: transferRecord.nullable(),
    })
    .nullable(),
  failure: failureRecord.nullable(),
  stopped_by: z.string().nullable(),
  hindrance: z.string().nullable(),
  source_workspace_id: z.string().nullable(),
  secrets_in_memory: z.array(z.string()),
  warnings: z.array(z.string()),
});

export type WorkspaceView = z.output<typeof workspaceRecord>;
export type WorkspaceCommandView = z.output<typeof workspaceCommandRecord>;

/** The SDK's record with the contract's field names. */
export function toWorkspaceView(record: WorkspaceRecord): WorkspaceView {
  const { lastCommand, operation, ...rest } = record;
  return workspaceRecord.parse({
    ...(snakeKeys({ ...rest, labels: {} }) as object),
    // A label's name is the user's, not ours.
    labels: record.labels,
    last_command: lastCommand === null ? null : toWorkspaceCommandView(lastCommand),
    operation: operation === null ? null : toOperationView(operation),
  });
}

function toOperationView({ error, result, ...rest }: WorkspaceOperation): object {
  return { ...rest, error: error === null ? null : failureOf(error), result: snakeKeys(result) };
}

/** The SDK's record of a command with the contract's field names. */
export function toWorkspaceCommandView(record: WorkspaceCommandRecord): WorkspaceCommandView {
  const { result } = record;
  return {
    workspace_id: record.workspaceId,
    sequence: record.sequence,
    command: record.command,
    cwd: record.cwd,
    state: record.state,
    started_at: record.startedAt,
    exit_code: result?.exitCode ?? null,
    signal: result?.signal ?? null,
    timed_out: result?.timedOut ?? false,
    out_of_memory: result?.outOfMemory ?? false,
    duration_ms: result?.durationMs ?? null,
    interrupted: record.interrupted,
    network_refusal: record.networkRefusal,
  };
}

function failureOf({ code, message, hint }: PyroError): z.output<typeof failureRecord> {
  return { code, message, hint };
}

/** Tells a face how far a workspace's operation is. */
export function following(
  onProgress: ((progress: { message: string; fraction: number | null }) => void) | undefined,
): { onProgress: (record: WorkspaceRecord) => void } {
  return {
    onProgress: ({ operation }) =>
      onProgress?.({ message: operation?.message ?? "", fraction: operation?.progress ?? null }),
  };
}

/** A workspace for people. */
export function renderWorkspace(view: WorkspaceView): string {
  const { workspace_seed: seed, last_command: last, operation, failure, reset } = view;
  const labels = Object.entries(view.labels).map(([label, value]) => `${label}=${value}`);
  const table = formatTable([
    ["workspace", view.workspace_id],
    ...(view.name === null ? [] : [["name", view.name]]),
    ...(labels.length === 0 ? [] : [["labels", labels.join(", ")]]),
    ["state", view.stopped_by === null ? view.state : `${view.state} (${view.stopped_by})`],
    ...(operation?.state === "running" ? [["now", `${operation.kind}: ${operation.message}`]] : []),
    ...(view.hindrance === null ? [] : [["held up", view.hindrance]]),
    ...(failure === null ? [] : [["failure", `${failure.code}: ${failure.message}`]]),
    ["environment", `${view.environment}, ${isolationText(view.isolation)}`],
    ["machine", `${view.vcpu_count} vCPU, ${view.mem_mib} MiB, network ${view.network_policy}`],
    [
      "seed",
      seed.mode === "empty"
        ? "empty"
        : `${seed.seed_path ?? seed.origin_ref ?? seed.mode}, ${formatCount(seed.entry_count, "entry", "entries")}`,
    ],
    ...(view.secrets.length === 0 ? [] : [["secrets", view.secrets.map(({ name }) => name).join(", ")]]),
    ["commands", commandsText(view, last)],
    ...(view.service_count === 0
      ? []
      : [["services", `${view.service_count}, ${view.running_service_count} running`]]),
    ...(reset.count === 0 ? [] : [["resets", `${reset.count}, last ${reset.at ?? ""}`]]),
    ["created", view.created_at],
    ["expires", view.expires_at],
    ...view.warnings.map((warning) => ["warning", warning]),
  ]);
  return [...renderOutcome(operation), table].join("\n");
}

/** How the last operation ended, where there is more to say than that it did. */
function renderOutcome(operation: WorkspaceView["operation"]): string[] {
  const { kind, error = null, result = null } = operation ?? {};
  if (result !== null) return [`${kind} is done: ${renderTransfer(result).join("\n")}`];
  if (error === null) return [];
  const { code, message, hint } = error;
  const advice = hint === "" ? [] : [`hint: ${visible(hint)}`];
  return [`${kind} failed: ${code}: ${visible(message)}`, ...advice];
}

function isolationText(value: WorkspaceView["isolation"]): string {
  if (value === null) return "no machine yet";
  return value === "kvm" ? "KVM" : "software emulation";
}

function commandsText(view: WorkspaceView, last: WorkspaceCommandView | null): string {
  if (last === null) return "none";
  return `${view.command_count}, last: ${last.command.split("\n")[0]?.slice(0, 60) ?? ""} (${outcomeText(last)})`;
}

/** How a command ended, in the words of the contract. */
export function outcomeText(command: WorkspaceCommandView): string {
  if (command.state === "running") return "still running";
  if (command.interrupted !== null) return `interrupted: ${command.interrupted}`;
  if (command.timed_out) return "timed out";
  return command.signal === null ? `exit ${command.exit_code ?? "?"}` : `killed ${command.signal}`;
}
