import * as z from "zod";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { visibleName } from "../text.js";
import { diffEntry, diffSummary, renderStat } from "./diff-record.js";
import { workspaceId } from "./record.js";
import { exportRecord, renderExport, renderSync, syncRecord } from "./transfer-record.js";
import { CORE, CORE_AND_INSPECT } from "./tool-sets.js";

const hostPath = (what: string): z.ZodString => z.string().min(1).max(4096).describe(what);

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
