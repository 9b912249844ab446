import * as z from "zod";
import type { WorkspaceDiffEntry } from "../../sdk/index.js";
import { snakeKeys } from "../fields.js";
import { formatTable, visibleName } from "../text.js";
import { artifactType } from "./transfer-record.js";

/** One path that changed. */
export const diffEntry = z.object({
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

/** How much changed. */
export const diffSummary = z.object({
  added: z.number(),
  modified: z.number(),
  deleted: z.number(),
  renamed: z.number(),
  binary: z.number(),
  insertions: z.number(),
  deletions: z.number(),
});

/** For people: which files, how much. */
export function renderStat(
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

export function toDiffEntryView(entry: WorkspaceDiffEntry): z.output<typeof diffEntry> {
  return diffEntry.parse(snakeKeys(entry));
}
