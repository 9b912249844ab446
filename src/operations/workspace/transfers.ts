import * as z from "zod";
import type { WorkspaceDiffEntry } from "../../sdk/index.js";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatTable, visibleName } from "../text.js";
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
import {
  artifactType,
  exportRecord,
  hostExecutables,
  renderExecutables,
  renderExport,
  renderSync,
  syncRecord,
} from "./transfer-record.js";
import { CORE, CORE_AND_INSPECT } from "./tool-sets.js";

const hostPath = (what: string): z.ZodString => z.string().min(1).max(4096).describe(what);

const diffEntry = z.object({
  path: z.string(),
  change: z.enum(["added", "modified", "deleted", "renamed"]),
  from: z.string().nullable(),
  artifact_type: artifactType,
  binary: z.boolean(),
  insertions: z.number(),
  deletions: z.number(),
  old_mode: z.string().nullable(),
  new_mode: z.string().nullable(),
});

const diffSummary = z.object({
  added: z.number(),
  modified: z.number(),
  deleted: z.number(),
  renamed: z.number(),
  binary: z.number(),
  insertions: z.number(),
  deletions: z.number(),
});

/** `pyro workspace sync push`, `workspace_sync_push`, `pushWorkspaceSync`. */
export const workspaceSyncPush = defineOperation({
  name: "workspace_sync_push",
  command: ["workspace", "sync", "push"],
  summary: "Import a directory, file or archive of this host into a workspace",
  description:
    "A directory's content lands at --dest: it overwrites, and deletes nothing. It is not atomic; the baseline stays as it was.",
  profiles: CORE,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    source_path: hostPath("Directory, file or archive (.tar, .tar.gz, .tar.zst) of this host"),
    dest: z
      .string()
      .max(4096)
      .default("/workspace")
      .describe("Directory of the workspace, made where it is missing"),
  }),
  output: z.object({
    workspace_id: z.string(),
    workspace_sync: syncRecord.nullable(),
    warnings: z.array(z.string()),
  }),
  positionals: ["workspace_id", "source_path"],
  examples: [
    { command: "pyro workspace sync push fix-1 ./fixtures --dest tests/fixtures", says: "later files" },
  ],
  run: async (
    { workspace_id: id, source_path: source, dest },
    { pyro, signal, hostPath: resolve, waitMs },
  ) => {
    const sourcePath = await resolve(source);
    const pushed = await pyro.pushWorkspaceSync({ workspaceId: id, sourcePath, dest, waitMs }, { signal });
    return snakeKeys(pushed) as never;
  },
  render: ({ workspace_sync: sync, warnings }) =>
    [
      sync === null ? "the push goes on; `pyro workspace status` waits for it" : renderSync(sync),
      ...warnings.map((warning) => `warning: ${visibleName(warning)}`),
    ].join("\n"),
});

/** `pyro workspace export`, `workspace_export`, `exportWorkspace`. */
export const workspaceExport = defineOperation({
  name: "workspace_export",
  command: ["workspace", "export"],
  summary: "Bring a file or directory of a workspace to this host",
  description:
    "It stands there whole or not at all, and replaces nothing without --overwrite. What this host would run by itself " +
    "(hooks, tasks, scripts) is named.",
  profiles: CORE_AND_INSPECT,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    path: z.string().min(1).max(4096).describe("File, directory or link of the workspace"),
    output_path: hostPath("Where it is to stand on this host"),
    overwrite: z.boolean().default(false).describe("Replace what is there"),
  }),
  /** Null while it goes on: only for faces that do not wait for its end. */
  output: exportRecord.nullable(),
  positionals: ["workspace_id", "path"],
  commandLineNames: { output_path: "output" },
  fullOnly: ["overwrite"],
  examples: [{ command: "pyro workspace export fix-1 dist --output ./dist", says: "a directory" }],
  run: async (given, { pyro, signal, hostPath: resolve, waitMs }) => {
    const outputPath = await resolve(given.output_path);
    const { workspace_id: workspaceId_, path, overwrite } = given;
    const exported = await pyro.exportWorkspace(
      { workspaceId: workspaceId_, path, outputPath, overwrite, waitMs },
      { signal },
    );
    return snakeKeys(exported) as never;
  },
  render: (view) =>
    view === null
      ? "the export goes on; `pyro workspace status` waits for it"
      : renderExport(view).join("\n"),
});

/** `pyro workspace diff`, `workspace_diff`, `diffWorkspace`. */
export const workspaceDiff = defineOperation({
  name: "workspace_diff",
  command: ["workspace", "diff"],
  summary: "Show what changed in a workspace since it was created",
  description:
    "Against the baseline, also after pushes and resets. Text as a unified diff that `git apply` takes.",
  profiles: CORE,
  kind: "read",
  input: z.strictObject({
    workspace_id: workspaceId(),
    path: z.string().max(4096).default("").describe("Only what is at or below this"),
    stat: z.boolean().default(false).describe("Paths and counts instead of the text"),
    offset: z.int().min(0).max(Number.MAX_SAFE_INTEGER).default(0).describe("First byte of the diff to show"),
    max_bytes: z
      .int()
      .min(1)
      .max(64 * 1024 * 1024)
      .default(8 * 1024 * 1024)
      .describe("Most bytes to show"),
  }),
  output: z.object({
    workspace_id: z.string(),
    changed: z.boolean(),
    summary: diffSummary,
    entries: z.array(diffEntry),
    patch: z.string(),
    patch_bytes: z.number(),
    offset: z.number(),
    next_offset: z.number(),
    truncated: z.boolean(),
    stat: z.boolean(),
  }),
  positionals: ["workspace_id"],
  notInTool: ["stat"],
  examples: [
    { command: "pyro workspace diff fix-1", says: "as text" },
    { command: "pyro workspace diff fix-1 --stat", says: "which files, how much" },
  ],
  run: async (given, { pyro, signal }) => {
    const { workspace_id: id, path, offset, max_bytes: maxBytes, stat } = given;
    const diff = await pyro.diffWorkspace({ workspaceId: id, path, offset, maxBytes }, { signal });
    const { patch, ...rest } = diff;
    // Bytes, where the text has U+FFFD for what is no UTF-8.
    const next_offset = offset + patch.length;
    return {
      ...(snakeKeys(rest) as object),
      patch: Buffer.from(patch).toString(),
      next_offset,
      stat,
    } as never;
  },
  render: ({ changed, stat, entries, summary, patch, truncated, next_offset: next }) => {
    if (!changed) return "nothing changed";
    if (!stat) return truncated ? `${patch}\n[cut; --offset ${next} reads on]` : patch.replace(/\n$/, "");
    return renderStat(entries, summary);
  },
});

function renderStat(
  entries: readonly z.output<typeof diffEntry>[],
  summary: z.output<typeof diffSummary>,
): string {
  const rows = entries.map((entry) => [
    entry.change,
    entry.binary ? "binary" : `+${entry.insertions} -${entry.deletions}`,
    visibleName(entry.from === null ? entry.path : `${entry.from} -> ${entry.path}`),
  ]);
  const { added, modified, deleted, renamed, insertions, deletions } = summary;
  const counts = `${added} added, ${modified} modified, ${deleted} deleted, ${renamed} renamed; +${insertions} -${deletions}`;
  return rows.length === 0 ? "nothing changed" : `${formatTable(rows)}\n${counts}`;
}

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
    const commands = summary.commands.map(toWorkspaceCommandView);
    const failed = commands.filter(({ exit_code: code, state }) => state === "done" && code !== 0);
    const isExport = ({ kind }: { kind: string }): boolean => kind === "export";
    return {
      workspace_id: summary.workspace.workspaceId,
      name: summary.workspace.name,
      labels: { ...summary.workspace.labels },
      commands,
      edits: summary.events.filter((event) => !isExport(event)),
      changes: { summary: summary.changes, entries: summary.changedFiles.map(toEntry) },
      services: summary.services.map(toServiceView),
      artifacts: summary.events
        .filter(isExport)
        .map(({ at, path, detail }) => ({ at, path, output_path: detail })),
      snapshots: snapshots.map((snapshot) => snapshotRecord.parse(snakeKeys(snapshot))),
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

function toEntry(entry: WorkspaceDiffEntry): z.output<typeof diffEntry> {
  return diffEntry.parse(snakeKeys(entry));
}
