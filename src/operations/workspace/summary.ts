import * as z from "zod";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { visibleName } from "../text.js";
import { diffEntry, diffSummary, renderStat, toDiffEntryView } from "./diff-record.js";
import { hasNetwork, networkRecord, renderNetwork, toNetworkView } from "./network.js";
import {
  outcomeText,
  renderWorkspace,
  toWorkspaceCommandView,
  toWorkspaceView,
  workspaceCommandRecord,
  workspaceId,
  workspaceRecord,
} from "./record.js";
import { serviceLine, serviceRecord, toServiceView } from "./services.js";
import { snapshotRecord } from "./snapshots.js";
import { CORE_AND_INSPECT } from "./tool-sets.js";
import { hostExecutables, renderExecutables } from "./transfer-record.js";

/** Of the network's record: what was connected and refused last. */
const NETWORK_ENTRIES = 20;

/** `pyro workspace summary`, `workspace_summary`, `summarizeWorkspace`. */
export const workspaceSummary = defineOperation({
  name: "workspace_summary",
  command: ["workspace", "summary"],
  summary: "Review a workspace: commands, edits, changes, exports since its last reset",
  description: "",
  profiles: CORE_AND_INSPECT,
  kind: "read",
  input: z.strictObject({ workspace_id: workspaceId() }),
  output: z.object({
    workspace_id: z.string(),
    name: z.string().nullable(),
    labels: z.record(z.string(), z.string()),
    commands: z.array(workspaceCommandRecord),
    edits: z.array(z.object({ at: z.string(), kind: z.string(), path: z.string(), detail: z.string() })),
    changes: z.object({ summary: diffSummary, entries: z.array(diffEntry) }),
    services: z.array(serviceRecord),
    artifacts: z.array(z.object({ at: z.string(), path: z.string(), output_path: z.string() })),
    snapshots: z.array(snapshotRecord),
    network: networkRecord,
    host_executable_paths: hostExecutables,
    outcome: z.object({
      last_command: workspaceCommandRecord.nullable(),
      failed_commands: z.number(),
      total_commands: z.number(),
      changed_files: z.number(),
    }),
    workspace: workspaceRecord,
  }),
  positionals: ["workspace_id"],
  examples: [{ command: "pyro workspace summary fix-1", says: "before taking the work home" }],
  run: async ({ workspace_id: id }, { pyro, signal }) => {
    const summary = await pyro.summarizeWorkspace(id, { signal });
    const snapshots = await pyro.listSnapshots(id, { signal });
    const network = await pyro.getWorkspaceNetwork({ workspaceId: id, limit: NETWORK_ENTRIES }, { signal });
    const commands = summary.commands.map(toWorkspaceCommandView);
    const failed = commands.filter(({ exit_code: code, state }) => state === "done" && code !== 0);
    const isExport = ({ kind }: { kind: string }): boolean => kind === "export";
    return {
      workspace_id: summary.workspace.workspaceId,
      name: summary.workspace.name,
      labels: { ...summary.workspace.labels },
      commands,
      edits: summary.events.filter((event) => !isExport(event)),
      changes: { summary: summary.changes, entries: summary.changedFiles.map(toDiffEntryView) },
      services: summary.services.map(toServiceView),
      artifacts: summary.events
        .filter(isExport)
        .map(({ at, path, detail }) => ({ at, path, output_path: detail })),
      snapshots: snapshots.map((snapshot) => snapshotRecord.parse(snakeKeys(snapshot))),
      network: toNetworkView(network),
      host_executable_paths: [...summary.hostExecutablePaths],
      outcome: {
        last_command: commands.at(-1) ?? null,
        failed_commands: failed.length,
        total_commands: commands.length,
        changed_files: summary.changedFiles.length,
      },
      workspace: toWorkspaceView(summary.workspace),
    };
  },
  render: (view) =>
    [
      renderWorkspace(view.workspace),
      "",
      `commands: ${view.outcome.total_commands}, ${view.outcome.failed_commands} failed`,
      ...view.commands.map(
        (command) =>
          `  ${command.sequence}  ${outcomeText(command)}  ${visibleName(command.command.split("\n")[0]?.slice(0, 100) ?? "")}`,
      ),
      ...(view.edits.length === 0 ? [] : ["edits:"]),
      ...view.edits.map(
        ({ kind, path, detail }) =>
          `  ${kind}  ${visibleName(path)}${detail === "" ? "" : `  (${visibleName(detail)})`}`,
      ),
      ...(view.services.length === 0 ? [] : ["services:"]),
      ...view.services.map((service) => `  ${serviceLine(service)}`),
      ...(hasNetwork(view.network) ? renderNetwork(view.network).split("\n") : []),
      "changes since the baseline:",
      ...renderStat(view.changes.entries, view.changes.summary)
        .split("\n")
        .map((line) => `  ${line}`),
      ...view.artifacts.map(
        ({ path, output_path: output }) => `exported: ${visibleName(path)} -> ${visibleName(output)}`,
      ),
      ...view.snapshots.map(({ snapshot_name: name, created_at: at }) => `snapshot: ${name}, ${at}`),
      ...renderExecutables(view.host_executable_paths),
    ].join("\n"),
});
