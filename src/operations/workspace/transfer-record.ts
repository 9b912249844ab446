import * as z from "zod";
import { formatBytes, formatCount, visibleName } from "../text.js";

export const artifactType = z.enum(["file", "directory", "symlink", "other"]);

/** Paths that the host would run by itself, or obey, and why. */
export const hostExecutables = z.array(z.object({ path: z.string(), why: z.string() }));

/** What a push brought, as section 6 of the contract names its fields. */
export const syncRecord = z.object({
  mode: z.string(),
  destination: z.string(),
  entry_count: z.number(),
  bytes_written: z.number(),
});

/** What an export brought to the host, as section 6 of the contract names its fields. */
export const exportRecord = z.object({
  workspace_path: z.string(),
  output_path: z.string(),
  artifact_type: artifactType,
  entry_count: z.number(),
  bytes_written: z.number(),
  host_executable_paths: hostExecutables,
  /** What of it holds a secret of the workspace; its bytes are as they were. */
  secret_paths: z.array(z.string()),
  warnings: z.array(z.string()),
});

/** What came of a push or of an export, for whoever was not there when it ended. */
export const transferRecord = z.union([exportRecord, syncRecord.extend({ warnings: z.array(z.string()) })]);

/** A push for people, in one line. */
export function renderSync(sync: z.output<typeof syncRecord>): string {
  const { entry_count: count, bytes_written: bytes, destination } = sync;
  return `${formatCount(count, "entry", "entries")}, ${formatBytes(bytes)}, to ${visibleName(destination)}`;
}

/** An export for people, and what this host would run of it. */
export function renderExport(view: z.output<typeof exportRecord>): string[] {
  const { entry_count: count, bytes_written: bytes } = view;
  return [
    `${visibleName(view.workspace_path)} is at ${visibleName(view.output_path)}: ${formatCount(count, "entry", "entries")}, ${formatBytes(bytes)}`,
    ...renderExecutables(view.host_executable_paths),
    ...renderSecretPaths(view.secret_paths),
    ...view.warnings.map((warning) => `warning: ${visibleName(warning)}`),
  ];
}

export function renderExecutables(paths: z.output<typeof hostExecutables>): string[] {
  if (paths.length === 0) return [];
  return ["this host would run or obey:", ...paths.map(({ path, why }) => `  ${visibleName(path)}: ${why}`)];
}

function renderSecretPaths(paths: readonly string[]): string[] {
  if (paths.length === 0) return [];
  return ["these hold a secret of the workspace:", ...paths.map((path) => `  ${visibleName(path)}`)];
}

/** The lines about a push or an export that has ended. */
export function renderTransfer(result: z.output<typeof transferRecord>): string[] {
  if ("output_path" in result) return renderExport(result);
  const warnings = result.warnings.map((warning) => `warning: ${visibleName(warning)}`);
  return [`pushed: ${renderSync(result)}`, ...warnings];
}
