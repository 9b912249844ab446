import { byteString, bytesOf } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { absolutePath } from "./command-line.js";
import { filesOf, type CallableFiles } from "./machine-files.js";
import { applyPatch, type PatchPlan, type WorkspaceTree } from "./patch/index.js";
import { WORKSPACE_PATH } from "./command-line.js";
import type { Redactor } from "./secrets/index.js";
import type { Workspace } from "./workspace.js";
import type { Edited } from "./workspace-files.js";

/** Replaces text in a file; a file whose lines all end in CRLF keeps that (guest.proto, EditRequest). */
export async function editFile(
  workspace: Workspace,
  path: string,
  change: { readonly oldText: string; readonly newText: string; readonly replaceAll: boolean },
  signal: AbortSignal,
): Promise<Edited & { readonly path: string }> {
  const files = await filesOf(workspace, signal);
  const absolute = absolutePath(path);
  const edited = await files.edit(Buffer.from(absolute), change, { signal }).catch((thrown: unknown) => {
    throw workspace.secrets.redactor.isEmpty ? thrown : withoutNearest(PyroError.from(thrown));
  });
  await noteEdit(workspace, "file_edit", absolute);
  return { path: absolute, ...edited };
}

/** The agent quotes the nearest line, and knows no secrets; what it cut in two nobody would find. */
function withoutNearest(error: PyroError): PyroError {
  const plain = /^the old text is not in "(?:[^"\\]|\\.)*"/.exec(error.message)?.[0];
  if (error.code !== "GUEST_EDIT_NO_MATCH" || plain === undefined) return error;
  return new PyroError(error.code, plain, {
    hint: "read the file as it is now, with `pyro workspace file read`, and take the text from there; secrets in it are shown masked",
  });
}

/** Writes a file whole. */
export async function writeFile(
  workspace: Workspace,
  path: string,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<{ readonly path: string; readonly bytesWritten: number }> {
  const files = await filesOf(workspace, signal);
  const absolute = absolutePath(path);
  const written = await files.write(Buffer.from(absolute), content, { signal });
  await noteEdit(workspace, "file_write", absolute);
  return { path: absolute, ...written };
}

/**
 * Applies a unified diff: all of it or nothing.
 * @throws {PyroError} PATCH_INVALID, PATCH_DOES_NOT_APPLY, GUEST_FILE_CHANGED when a command wrote in between
 */
export async function patchFiles(
  workspace: Workspace,
  patch: Uint8Array,
  signal: AbortSignal,
): Promise<PatchPlan["result"]> {
  const files = await filesOf(workspace, signal);
  const { changes, result } = await applyPatch(patch, treeOf(files, workspace.secrets.redactor, signal));
  const absolute = changes.map((change) =>
    change.kind === "move"
      ? { ...change, path: inWorkspace(change.path), to: inWorkspace(change.to) }
      : { ...change, path: inWorkspace(change.path) },
  );
  if (absolute.length > 0) await files.commit(absolute, { signal });
  const paths = result.entries.map(({ path }) => path);
  await noteEdit(workspace, "patch", paths.slice(0, 20).join(", "));
  return result;
}

async function noteEdit(workspace: Workspace, kind: string, path: string): Promise<void> {
  await workspace.note({ kind, path });
  await workspace.touch();
}

function treeOf(files: CallableFiles, redactor: Redactor, signal: AbortSignal): WorkspaceTree {
  return {
    // Before a line is cut: what is left of a secret then would not be found.
    ...(redactor.isEmpty ? {} : { show: (line) => byteString(redactor.mask(bytesOf(line))) }),
    stat: async (path) => {
      try {
        const { entries } = await files.list(inWorkspace(path), { recursive: false, maxEntries: 1, signal });
        const [entry] = entries;
        // A directory is listed by what is in it.
        const isItself = entry !== undefined && Buffer.compare(entry.path, inWorkspace(path)) === 0;
        return isItself ? entry : { type: "directory", sizeBytes: 0, mode: 0o755 };
      } catch (thrown) {
        if (PyroError.from(thrown).code === "GUEST_FILE_NOT_FOUND") return undefined;
        throw thrown;
      }
    },
    read: async (path, maxBytes) => {
      const { sizeBytes, data } = await files.read(inWorkspace(path), { maxBytes: maxBytes + 1, signal });
      const parts: Uint8Array[] = [];
      for await (const part of data) parts.push(part);
      const content = Buffer.concat(parts);
      if (content.length <= maxBytes) return content;
      throw new PyroError("ARGUMENT_TOO_LARGE", `the file has ${sizeBytes} bytes, more than can be patched`, {
        hint: "change it by a command",
      });
    },
  };
}

/** A path relative to the workspace as an absolute one. */
export function inWorkspace(path: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${WORKSPACE_PATH}/`), path]);
}
