import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type {
  DiffEntrySchema,
  DiffResponseSchema,
} from "../../protocol/gen/pyro/daemon/v1/workspace_file_pb.js";
import type { WorkspaceService } from "../../protocol/gen/pyro/daemon/v1/workspace_pb.js";
import {
  absolutePath,
  diffWorkspace,
  exportPath,
  summarize,
  summarizeWorkspace,
  type DiffEntry,
  type Seeding,
  type Workspaces,
} from "../../workspace/index.js";
import { toService } from "./service.js";
import { toCommandRecord, toExportResult, toPushResult, toWorkspace, waitOf } from "./workspace-view.js";

type Calls = Pick<ServiceImpl<typeof WorkspaceService>, "push" | "export" | "diff" | "summarize">;

/** What goes into workspaces and comes out of them. */
export function transferCalls(workspaces: Workspaces, seeding: Seeding): Calls {
  return {
    push: async ({ workspace: reference, sourcePath, dest, waitMs }, { signal }) => {
      const workspace = workspaces.find(reference);
      const request = { path: sourcePath, destination: absolutePath(dest) };
      const operation = workspace.work("sync_push", (machine, report) =>
        seeding.push(workspace, machine, request, report),
      );
      await operation.settle(waitOf(waitMs), signal);
      if (operation.isRunning) return { workspace: toWorkspace(workspace) };
      const pushed = await operation.result;
      return { workspace: toWorkspace(workspace), result: toPushResult(pushed) };
    },
    export: async ({ workspace: reference, path, outputPath, overwrite, waitMs }, { signal }) => {
      const workspace = workspaces.find(reference);
      const operation = workspace.work("export", (machine) =>
        exportPath(workspace, machine, { path, outputPath, overwrite }),
      );
      await operation.settle(waitOf(waitMs), signal);
      if (operation.isRunning) return { workspace: toWorkspace(workspace) };
      const exported = await operation.result;
      return { workspace: toWorkspace(workspace), result: toExportResult(exported) };
    },
    diff: async function* (
      { workspace: reference, path },
      { signal },
    ): AsyncGenerator<MessageInitShape<typeof DiffResponseSchema>> {
      const workspace = workspaces.find(reference);
      const entries: DiffEntry[] = [];
      for await (const { entry, patch } of diffWorkspace(workspace, path, signal)) {
        entries.push(entry);
        yield { event: { case: "entry", value: toDiffEntry(entry) } };
        if (patch.length > 0) yield { event: { case: "patch", value: patch } };
      }
      const summary = { workspaceId: workspace.id, ...summarize(entries) };
      yield { event: { case: "summary", value: summary } };
    },
    summarize: async ({ workspace: reference }, { signal }) => {
      const workspace = workspaces.find(reference);
      const summary = await summarizeWorkspace(workspace, signal);
      return {
        workspace: toWorkspace(workspace),
        commands: summary.commands.map((command) => toCommandRecord(workspace, command)),
        events: summary.events.map(({ atMs, ...event }) => ({ ...event, atMs: BigInt(atMs) })),
        changes: { workspaceId: workspace.id, ...summary.changes },
        changedFiles: summary.changedFiles.map(toDiffEntry),
        hostExecutablePaths: [...summary.hostExecutablePaths],
        services: summary.services.map((facts) => toService(workspace, facts)),
      };
    },
  };
}

function toDiffEntry(entry: DiffEntry): MessageInitShape<typeof DiffEntrySchema> {
  const { path, change, from, artifactType, binary, insertions, deletions, oldMode, newMode } = entry;
  return {
    ...{ path, change, from: from ?? "", artifactType, binary, insertions, deletions },
    oldMode: oldMode ?? "",
    newMode: newMode ?? "",
  };
}
