import { renderWorkspace, type WorkspaceView } from "../operations/workspace/record.js";
import type { JsonRecord } from "./bounded-record.js";
import { WAIT_SECONDS } from "./window-text.js";

/** The call that comes next, where one is the obvious one. */
export function nextOf(tool: string, record: JsonRecord): string | undefined {
  if ("vm_id" in record) return nextOfVm(tool, record);
  const id = `workspace_id="${String(record["workspace_id"])}"`;
  if (isGoingOn(record)) return `workspace_status(${id}, wait_seconds=${WAIT_SECONDS})`;
  if (tool.startsWith("service_") && record["state"] === "starting") {
    const name = `service_name="${String(record["service_name"])}"`;
    return `service_status(${id}, ${name}, wait_seconds=${WAIT_SECONDS})`;
  }
  if (tool === "workspace_create") return `workspace_exec(${id}, command="…")`;
  if (tool === "workspace_file_list" && record["truncated"] === true)
    return "workspace_file_list with a path further down";
  if (tool === "workspace_list" && record["count"] === 0) return "workspace_create()";
  return undefined;
}

function nextOfVm(tool: string, record: JsonRecord): string | undefined {
  const id = `vm_id="${String(record["vm_id"])}"`;
  if (isGoingOn(record)) return `vm_status(${id}, wait_seconds=${WAIT_SECONDS})`;
  if (tool === "vm_create") return `vm_start(${id})`;
  return tool === "vm_start" ? `vm_exec(${id}, command="…")` : undefined;
}

/** A workspace: what goes on in it first. */
export function operationText(tool: string, record: JsonRecord): string {
  const view = record as unknown as WorkspaceView;
  return [firstLine(tool, view), renderWorkspace(view)].join("\n");
}

function firstLine(tool: string, { operation, workspace_id: id, state, reset }: WorkspaceView): string {
  if (operation?.state === "running") {
    const percent = operation.progress === null ? "" : ` (${Math.floor(operation.progress * 100)} %)`;
    return `still running: ${operation.kind} of ${id}: ${operation.message}${percent}`;
  }
  if (tool === "workspace_create") return `workspace ${id} is ready`;
  if (tool === "workspace_reset") {
    const { snapshot } = reset;
    const isBaseline = snapshot === null || snapshot === "baseline";
    return `workspace ${id} is as ${isBaseline ? "it was created" : `at snapshot ${snapshot}`}`;
  }
  return `workspace ${id} is ${state}`;
}

function isGoingOn(record: JsonRecord): boolean {
  return (record["operation"] as WorkspaceView["operation"] | undefined)?.state === "running";
}
