import type { ToolSet } from "../operation.js";

/** The profile of all that a workspace needs day by day, and the modes that have the same tools. */
export const CORE: readonly ToolSet[] = ["workspace-core", "repro-fix"];
/** Of those, what an untrusted project is looked at with: nothing is brought in or changed but by commands. */
export const CORE_AND_INSPECT: readonly ToolSet[] = [...CORE, "inspect"];
