import { isUtf8 } from "node:buffer";
import { createTwoFilesPatch } from "diff";
import { LIMITS, PyroError } from "../../protocol/index.js";
import type { Pyro } from "../../sdk/index.js";
import { runCommand } from "./command.js";
import { createdContent, updatedContent } from "./v4a.js";

/** What OpenAI's apply_patch asks for. Paths are absolute or below /workspace. */
export type PatchOperation =
  | { readonly type: "create_file" | "update_file"; readonly path: string; readonly diff: string }
  | { readonly type: "delete_file"; readonly path: string };

/**
 * Does one operation, whole or not at all, and says what it did.
 * @throws {PyroError} PATCH_INVALID, PATCH_DOES_NOT_APPLY, GUEST_FILE_NOT_FOUND, …
 */
export async function applyOperation(
  pyro: Pyro,
  workspaceId: string,
  operation: PatchOperation,
  signal: AbortSignal | undefined,
): Promise<string> {
  const path = operation.path.replace(/^\/workspace\//, "").replace(/^(\.\/)+/, "");
  switch (operation.type) {
    case "create_file":
      await apply(pyro, workspaceId, { path, from: undefined, to: createdContent(operation.diff) }, signal);
      return `${path}: created`;
    case "update_file": {
      const from = await readWhole(pyro, workspaceId, path, signal);
      await apply(pyro, workspaceId, { path, from, to: updatedContent(from, operation.diff) }, signal);
      return `${path}: updated`;
    }
    case "delete_file": {
      const { exitCode, stderr } = await runCommand(
        pyro,
        { workspaceId, argv: ["rm", "--", path] },
        { signal },
      );
      if (exitCode === 0) return `${path}: deleted`;
      throw new PyroError("GUEST_FILE_REFUSED", stderr.trim(), {
        hint: "list the directory for what is there",
      });
    }
    default:
      // A model wrote it.
      throw new PyroError(
        "INVALID_ARGUMENT",
        `there is no operation ${JSON.stringify((operation as { type: unknown }).type)}`,
        {
          hint: "the operations are create_file, update_file and delete_file",
        },
      );
  }
}

/** As a patch, which is refused where somebody changed the file meanwhile, or made it. */
async function apply(
  pyro: Pyro,
  workspaceId: string,
  { path, from, to }: { readonly path: string; readonly from: string | undefined; readonly to: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  if (from === to) return;
  if (from === undefined && to === "") {
    await createEmpty(pyro, workspaceId, path, signal);
    return;
  }
  const before = from === undefined ? "/dev/null" : `a/${path}`;
  const patch = createTwoFilesPatch(before, `b/${path}`, from ?? "", to);
  await pyro.applyWorkspacePatch({ workspaceId, patch }, { signal });
}

/** A patch without a line says nothing. */
async function createEmpty(pyro: Pyro, workspaceId: string, path: string, signal: AbortSignal | undefined) {
  const mode = `diff --git a/${path} b/${path}\nnew file mode 100644\nindex 0000000..e69de29\n`;
  await pyro.applyWorkspacePatch({ workspaceId, patch: mode }, { signal });
}

async function readWhole(
  pyro: Pyro,
  workspaceId: string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const most = LIMITS.patchFileBytes;
  const { data, truncated } = await pyro.readWorkspaceFile({ workspaceId, path, maxBytes: most }, { signal });
  if (truncated || !isUtf8(data))
    throw new PyroError(
      "GUEST_FILE_REFUSED",
      `${path} is ${truncated ? `larger than ${most} bytes` : "no UTF-8 text"}`,
      {
        hint: "change it by a command",
      },
    );
  return Buffer.from(data).toString();
}
