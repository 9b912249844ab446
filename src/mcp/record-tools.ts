import { parseInput, type Operation } from "../operations/index.js";
import { toWorkspaceView } from "../operations/workspace/record.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { boundedRecord, oneLine, safeRecord, type JsonRecord, type LongList } from "./bounded-record.js";
import { nextOf, operationText } from "./record-text.js";
import { recordResult } from "./result.js";
import { ANSWER_MS, toolInput, type ToolCall, type ToolHandler, type ToolSetting } from "./tool.js";

/** How the record of one operation is shown to models. */
interface RecordFace {
  /** Lists that may be long. */
  readonly lists?: readonly LongList[];
  /** What of the record models need. */
  readonly lean?: (record: JsonRecord) => JsonRecord;
}

const WARNINGS: LongList = { path: ["warnings"], keep: "first" };

/** Lists of a workspace, which may stand in another record. */
function listsOfWorkspace(...at: readonly string[]): readonly LongList[] {
  const paths = [
    ["warnings"],
    ["operation", "result", "host_executable_paths"],
    ["operation", "result", "secret_paths"],
    ["operation", "result", "warnings"],
  ];
  return paths.map((path) => ({ path: [...at, ...path], keep: "first" }));
}

const FACES: Readonly<Record<string, RecordFace>> = {
  workspace_list: {
    lists: [{ path: ["workspaces"], keep: "first" }],
    lean: (record) => ({ ...record, workspaces: (record["workspaces"] as JsonRecord[]).map(leanWorkspace) }),
  },
  workspace_logs: {
    lists: [{ path: ["entries"], keep: "last" }],
    lean: (record) => ({ ...record, entries: (record["entries"] as JsonRecord[]).map(leanCommand) }),
  },
  workspace_summary: {
    lists: [
      { path: ["commands"], keep: "last" },
      { path: ["edits"], keep: "last" },
      { path: ["changes", "entries"], keep: "first" },
      { path: ["artifacts"], keep: "last" },
      { path: ["services"], keep: "first" },
      { path: ["snapshots"], keep: "last" },
      { path: ["network", "entries"], keep: "last" },
      { path: ["host_executable_paths"], keep: "first" },
      ...listsOfWorkspace("workspace"),
    ],
    lean: (record) => ({ ...record, commands: (record["commands"] as JsonRecord[]).map(leanCommand) }),
  },
  service_list: { lists: [{ path: ["services"], keep: "first" }] },
  snapshot_list: { lists: [{ path: ["snapshots"], keep: "last" }] },
  workspace_disk_list: { lists: [{ path: ["entries"], keep: "first" }] },
  workspace_file_list: { lists: [{ path: ["entries"], keep: "first" }] },
  workspace_patch_apply: { lists: [{ path: ["entries"], keep: "first" }] },
  workspace_export: {
    lists: [
      { path: ["host_executable_paths"], keep: "first" },
      { path: ["secret_paths"], keep: "first" },
      WARNINGS,
    ],
  },
  workspace_sync_push: { lists: [WARNINGS] },
  workspace_create: { lists: listsOfWorkspace() },
  workspace_status: { lists: listsOfWorkspace() },
  vm_reap_expired: { lists: ["reaped", "vms"].map((name) => ({ path: [name], keep: "first" })) },
};

/** JSON of a record; its text is shorter, and our words come on top. */
const RECORD_BYTES = LIMITS.mcpTextBytes - 1_500;

/** The handler of an operation whose result is one record. */
export function recordHandler(operation: Operation, setting: ToolSetting): ToolHandler {
  const schema = toolInput(operation, setting);
  return async (args, call) => {
    const given = parseInput(operation, schema, args);
    const record = await within(call, async (signal) => {
      const output = await operation.run(given, {
        pyro: call.pyro,
        signal,
        hostPath: call.hostPath,
        readHostFile: refuseFile,
        onProgress: ({ message }) => call.onProgress(message),
        defaultSource: call.defaultSource,
        network: call.network,
        waitMs: Math.max(0, call.blockMs - 2 * ANSWER_MS),
      });
      return await unlessGoingOn(output, given["workspace_id"], call, signal);
    });
    return answer(operation, record, isWorkspace(record));
  };
}

/** What still goes on has no result yet: then the workspace itself, with its operation, is the answer. */
async function unlessGoingOn(
  output: unknown,
  workspaceId: unknown,
  { pyro }: ToolCall,
  signal: AbortSignal,
): Promise<JsonRecord> {
  const goesOn = output === null || (output as JsonRecord)["workspace_sync"] === null;
  if (!goesOn) return output as JsonRecord;
  return toWorkspaceView(await pyro.statusWorkspace(String(workspaceId), {}, { signal }));
}

function answer(operation: Operation, record: JsonRecord, asWorkspace: boolean) {
  const face = FACES[operation.name] ?? {};
  const safe = safeRecord(record);
  const lean = face.lean === undefined || asWorkspace ? safe : face.lean(safe);
  const { record: fitting, omitted } = boundedRecord(lean, face.lists ?? [], RECORD_BYTES);
  const next = nextOf(operation.name, safe);
  const text = [
    asWorkspace ? operationText(operation.name, oneLine(fitting)) : operation.render(oneLine(fitting)),
    ...Object.entries(omitted).map(([name, count]) => `${count} more of ${name} are left out`),
    ...(next === undefined ? [] : [`next: ${next}`]),
  ].join("\n");
  return recordResult(text, {
    ...fitting,
    ...(Object.keys(omitted).length === 0 ? {} : { omitted }),
    ...(next === undefined ? {} : { next }),
  });
}

function isWorkspace(record: JsonRecord): boolean {
  return "workspace_seed" in record;
}

function leanWorkspace(view: JsonRecord): JsonRecord {
  const { workspace_id, name, labels, environment, state, last_activity_at, expires_at, command_count } =
    view;
  const last = view["last_command"] as JsonRecord | null;
  const last_command = last === null ? null : leanCommand(last);
  return {
    ...{ workspace_id, name, labels, environment, state, last_activity_at, expires_at },
    ...{ command_count, last_command },
  };
}

/** Of a list's command what tells it apart; its output is `workspace_logs` with its sequence. */
function leanCommand(view: JsonRecord): JsonRecord {
  const { sequence, command, cwd, state, exit_code, signal, timed_out, duration_ms, interrupted } = view;
  return { sequence, command, cwd, state, exit_code, signal, timed_out, duration_ms, interrupted };
}

/** Runs a call within the time bound: then the daemon goes on, and the caller looks. */
async function within<T>(call: ToolCall, body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = AbortSignal.timeout(call.blockMs);
  try {
    return await body(AbortSignal.any([call.signal, late]));
  } catch (error) {
    if (!late.aborted || call.signal.aborted) throw error;
    throw new PyroError("DEADLINE_EXCEEDED", `no answer within ${call.blockMs / 1000} s`, {
      hint: "see how far it is with workspace_status, then call again",
      retryable: true,
    });
  }
}

function refuseFile(): Promise<never> {
  return Promise.reject(new PyroError("INTERNAL", "a tool has no files of the host as arguments"));
}
