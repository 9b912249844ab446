import type { WorkspaceCommandRecord } from "../sdk/index.js";
import { endLines, type BulkText } from "./run-text.js";
import { WAIT_SECONDS, windowText } from "./window-text.js";

/** Under which a command's time limit is remembered. */
export function commandKey({ workspaceId, sequence }: WorkspaceCommandRecord): string {
  return `${workspaceId}:${sequence}`;
}

/** The text of a workspace's command. `timeoutSeconds` is known where this server started it. */
export function commandText(
  record: WorkspaceCommandRecord,
  budgetBytes: number,
  timeoutSeconds: number | undefined,
): BulkText {
  const { workspaceId, sequence } = record;
  const named = `workspace_id="${workspaceId}", sequence=${sequence}`;
  const readOn = (offset: number): string => `workspace_logs(${named}, offset=${offset})`;
  const { lines, ...window } = windowText(record.output, budgetBytes, { what: "output", readOn });
  const wait = [
    `next: workspace_logs(${named}, offset=${window.nextOffset}, wait_seconds=${WAIT_SECONDS})`,
    `workspace_cancel(${named}) ends it`,
  ];
  const goesOn = record.state === "running";
  const refused = record.networkRefusal === null ? [] : [`network: ${record.networkRefusal}`];
  const words = [...statusLines(record, timeoutSeconds), ...refused, ...lines, ...(goesOn ? wait : [])];
  return { ...window, words: words.join("\n") };
}

function statusLines(record: WorkspaceCommandRecord, timeoutSeconds: number | undefined): string[] {
  const { workspaceId, sequence, state, result, interrupted } = record;
  const command = `command ${sequence} of ${workspaceId}`;
  if (state === "running") return ["still running", command];
  if (result === null) return [`interrupted: ${interrupted ?? "the machine was lost"}`, command];
  return endLines(result, `for ${command}`, timeoutSeconds);
}
