import { posix } from "node:path";
import { LIMITS, PyroError } from "../protocol/index.js";
import { WORKSPACE_PATH } from "./command-line.js";
import {
  diffFiles,
  type ChangedPath,
  type DiffContents,
  type DiffEntry,
  type FileDiff,
} from "./diff/index.js";
import { inWorkspace } from "./editing.js";
import { absolutePath } from "./command-line.js";
import type { Redactor } from "./secrets/index.js";
import type { Workspace } from "./workspace.js";
import { filesOf, type CallableFiles } from "./machine-files.js";

/**
 * What changed since the baseline, file by file, at or below a path.
 * @throws {PyroError} INVALID_ARGUMENT for a path outside of /workspace; ARGUMENT_TOO_LARGE for too many changes
 */
export async function* diffWorkspace(
  workspace: Workspace,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<FileDiff> {
  const files = await filesOf(workspace, signal);
  const { redactor } = workspace.secrets;
  const changes = await changesOf(files, path, signal);
  const diffs = diffFiles(changes, contentsOf(files, redactor, signal));
  if (redactor.isEmpty) yield* diffs;
  else for await (const file of diffs) yield withoutSecrets(file, redactor);
}

/** What is left after the contents were masked: names, and what stands in several lines of one. */
function withoutSecrets({ entry, patch }: FileDiff, redactor: Redactor): FileDiff {
  const { path, from, linkTargetBefore, linkTargetAfter } = entry;
  const names = Object.entries({ path, from, linkTargetBefore, linkTargetAfter }).filter(
    ([, name]) => name !== undefined,
  );
  const shown = redactor.values(Object.fromEntries(names)) as Partial<DiffEntry>;
  return { entry: { ...entry, ...shown }, patch: redactor.bytes(patch) };
}

/** The paths that changed since the baseline. */
async function changesOf(
  files: CallableFiles,
  path: string,
  signal: AbortSignal,
): Promise<readonly ChangedPath[]> {
  const { changes, truncated } = await files.changes(Buffer.from(relativePath(path)), { signal });
  if (!truncated) return changes;
  throw new PyroError("ARGUMENT_TOO_LARGE", `more than ${LIMITS.listedChanges} paths changed`, {
    hint: "name a directory below /workspace to compare only that",
  });
}

/** Contents of both sides, from the running machine and its baseline. */
function contentsOf(files: CallableFiles, redactor: Redactor, signal: AbortSignal): DiffContents {
  return {
    read: async (side, path, maxBytes) => {
      const tree = side === "before" ? "baseline" : "active";
      const { data } = await files.read(inWorkspace(path), { tree, maxBytes, signal });
      const parts: Uint8Array[] = [];
      for await (const part of data) parts.push(part);
      // Before lines are compared: their marks would stand between those of a secret.
      return redactor.mask(Buffer.concat(parts));
    },
  };
}

/** A path as it is below /workspace; "" is all of it. */
function relativePath(path: string): string {
  const absolute = posix.normalize(absolutePath(path));
  const relative = posix.relative(WORKSPACE_PATH, absolute);
  if (relative !== ".." && !relative.startsWith("../")) return relative;
  throw new PyroError("INVALID_ARGUMENT", `${JSON.stringify(path)} is not in ${WORKSPACE_PATH}`, {
    hint: `only what is below ${WORKSPACE_PATH} is compared`,
  });
}
