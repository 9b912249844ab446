import { readFile } from "node:fs/promises";
import {
  hostExecutablePaths,
  summarize,
  type DiffEntry,
  type DiffSummary,
  type HostExecutablePath,
} from "./diff/index.js";
import { diffWorkspace } from "./comparing.js";
import type { WorkspaceCommand } from "./workspace-command.js";
import type { ServiceFacts } from "./workspace-services.js";
import type { Workspace } from "./workspace.js";

/** What was done besides commands. */
export interface HistoryEvent {
  readonly atMs: number;
  readonly kind: string;
  readonly path: string;
  readonly detail: string;
}

/** What a person wants to know before taking the work home: since the last reset. */
export interface WorkspaceSummary {
  readonly commands: readonly WorkspaceCommand[];
  readonly events: readonly HistoryEvent[];
  readonly changes: DiffSummary;
  readonly changedFiles: readonly DiffEntry[];
  /** Of what changed: what would run on the host if it were exported. */
  readonly hostExecutablePaths: readonly HostExecutablePath[];
  readonly services: readonly ServiceFacts[];
}

export async function summarizeWorkspace(
  workspace: Workspace,
  signal: AbortSignal,
): Promise<WorkspaceSummary> {
  const entries: DiffEntry[] = [];
  for await (const { entry } of diffWorkspace(workspace, "", signal)) entries.push(entry);
  const kept = entries.filter(
    ({ change, artifactType }) => change !== "deleted" && artifactType !== "directory",
  );
  return {
    commands: workspace.commands.all,
    events: await historyOf(workspace),
    changes: summarize(entries),
    changedFiles: entries,
    services: workspace.services.all,
    // Paths come without secrets already.
    hostExecutablePaths: hostExecutablePaths(
      kept.map(({ path, newMode, artifactType }) => ({
        path,
        // A link has no mode of its own.
        mode: artifactType === "file" ? parseInt(newMode ?? "0", 8) : 0,
      })),
    ),
  };
}

/** The lines that are whole: the last one may be torn. */
async function historyOf({ paths }: Workspace): Promise<HistoryEvent[]> {
  const text = await readFile(paths.history, "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    try {
      const event = JSON.parse(line) as Record<string, unknown>;
      const { at_ms: atMs, kind, path, detail = "" } = event;
      return [{ atMs: Number(atMs), kind: String(kind), path: String(path), detail: String(detail) }];
    } catch {
      return [];
    }
  });
}
