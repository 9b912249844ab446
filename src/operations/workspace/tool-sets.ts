import type { ToolSet } from "../operation.js";

/** All that there is. */
export const FULL: readonly ToolSet[] = ["workspace-full"];
/** What a project's own service is run and looked at with. */
export const SERVICES: readonly ToolSet[] = [...FULL, "cold-start"];
/** Terminals and checkpoints: what a review goes by. */
export const REVIEW: readonly ToolSet[] = [...FULL, "review-eval"];
/** The profile of all that a workspace needs day by day, and the sets that begin with the same tools. */
export const CORE: readonly ToolSet[] = ["workspace-core", "repro-fix", ...SERVICES, "review-eval"];
/** Of those, what an untrusted project is looked at with: nothing is brought in or changed but by commands. */
export const CORE_AND_INSPECT: readonly ToolSet[] = [...CORE, "inspect"];
