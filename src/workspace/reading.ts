import { absolutePath } from "./command-line.js";
import { filesOf } from "./machine-files.js";
import { maskedRange, withSurroundings, type ReadRange } from "./secrets/index.js";
import type { Workspace } from "./workspace.js";
import type { FileContent } from "./workspace-files.js";

/** Part of a file, with as many bytes as the file has there; those of secrets are masked. */
export async function readFile(
  workspace: Workspace,
  path: string,
  range: ReadRange,
  signal: AbortSignal,
): Promise<FileContent> {
  const files = await filesOf(workspace, signal);
  const { redactor } = workspace.secrets;
  const bytes = Buffer.from(absolutePath(path));
  if (redactor.isEmpty) return await files.read(bytes, { ...range, signal });
  const around = withSurroundings(range, redactor);
  const { sizeBytes, data } = await files.read(bytes, { ...around, signal });
  return { sizeBytes, data: maskedRange(data, range, redactor) };
}
