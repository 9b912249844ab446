import type { ServiceImpl } from "@connectrpc/connect";
import type { WriteFileRequest } from "../../protocol/gen/pyro/daemon/v1/workspace_file_pb.js";
import type { WorkspaceService } from "../../protocol/gen/pyro/daemon/v1/workspace_pb.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import {
  absolutePath,
  editFile,
  filesOf,
  patchFiles,
  readFile,
  writeFile,
  type Workspace,
  type Workspaces,
} from "../../workspace/index.js";

type Calls = Pick<
  ServiceImpl<typeof WorkspaceService>,
  "listFiles" | "readFile" | "writeFile" | "editFile" | "applyPatch"
>;

/** Files of workspaces: none of it waits for a command. */
export function fileCalls(workspaces: Workspaces): Calls {
  return {
    listFiles: async ({ workspace: reference, path, recursive, maxEntries }, { signal }) => {
      const workspace = workspaces.find(reference);
      const { redactor } = workspace.secrets;
      const files = await filesOf(workspace, signal);
      const absolute = absolutePath(path);
      const options = { recursive, maxEntries: maxEntries || LIMITS.listedEntries, signal };
      const { entries, truncated } = await files.list(Buffer.from(absolute), options);
      return {
        path: redactor.text(absolute),
        truncated,
        entries: entries.map(({ path: name, type, sizeBytes, linkTarget, mode }) => ({
          ...{ path: redactor.bytes(name), linkTarget: redactor.bytes(linkTarget) },
          ...{ artifactType: type, sizeBytes: BigInt(sizeBytes), mode },
        })),
      };
    },
    readFile: async function* ({ workspace: reference, path, offset, maxBytes }, { signal }) {
      const range = { offset: Number(offset), maxBytes: Number(maxBytes) };
      const { sizeBytes, data } = await readFile(workspaces.find(reference), path, range, signal);
      yield { sizeBytes: BigInt(sizeBytes) };
      for await (const part of data) yield { data: part };
    },
    writeFile: async (requests, { signal }) => {
      const messages = requests[Symbol.asyncIterator]();
      const first = await messages.next();
      if (first.done === true) throw nothing();
      const { workspace: reference, path, data } = first.value;
      const content = contentOf(data, messages);
      const workspace = workspaces.find(reference);
      const written = await writeFile(workspace, path, content, signal);
      return { path: shown(workspace, written.path), bytesWritten: BigInt(written.bytesWritten) };
    },
    editFile: async ({ workspace: reference, path, oldText, newText, replaceAll }, { signal }) => {
      const change = { oldText, newText, replaceAll };
      const workspace = workspaces.find(reference);
      const edited = await editFile(workspace, path, change, signal);
      return { ...edited, path: shown(workspace, edited.path), sizeBytes: BigInt(edited.sizeBytes) };
    },
    applyPatch: async ({ workspace: reference, patch }, { signal }) => {
      const workspace = workspaces.find(reference);
      const { changed, entries } = await patchFiles(workspace, patch, signal);
      return {
        changed,
        entries: entries.map(({ path, change, from = "" }) => ({
          ...{ path: shown(workspace, path), change, from: shown(workspace, from) },
        })),
      };
    },
  };
}

function shown({ secrets }: Workspace, path: string): string {
  return secrets.redactor.text(path);
}

async function* contentOf(
  first: Uint8Array,
  messages: AsyncIterator<WriteFileRequest>,
): AsyncGenerator<Uint8Array> {
  if (first.length > 0) yield first;
  for (let next = await messages.next(); next.done !== true; next = await messages.next())
    yield next.value.data;
}

function nothing(): PyroError {
  return new PyroError("INVALID_ARGUMENT", "WriteFile names no file", { hint: "update the client" });
}
