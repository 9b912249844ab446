import type { ServiceImpl } from "@connectrpc/connect";
import type { WorkspaceService, WriteFileRequest } from "../../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import { absolutePath, editFile, patchFiles, writeFile, type Workspaces } from "../../workspace/index.js";

type Calls = Pick<
  ServiceImpl<typeof WorkspaceService>,
  "listFiles" | "readFile" | "writeFile" | "editFile" | "applyPatch"
>;

/** Files of workspaces: none of it waits for a command. */
export function fileCalls(workspaces: Workspaces): Calls {
  return {
    listFiles: async ({ workspace: reference, path, recursive, maxEntries }, { signal }) => {
      const machine = await workspaces.find(reference).machine(signal);
      const absolute = absolutePath(path);
      const options = { recursive, maxEntries: maxEntries || LIMITS.listedEntries, signal };
      const { entries, truncated } = await machine.files.list(Buffer.from(absolute), options);
      return {
        path: absolute,
        truncated,
        entries: entries.map(({ path: name, type, sizeBytes, linkTarget, mode }) => ({
          ...{ path: name, artifactType: type, sizeBytes: BigInt(sizeBytes), linkTarget, mode },
        })),
      };
    },
    readFile: async function* ({ workspace: reference, path, offset, maxBytes }, { signal }) {
      const machine = await workspaces.find(reference).machine(signal);
      const { sizeBytes, data } = await machine.files.read(Buffer.from(absolutePath(path)), {
        offset: Number(offset),
        maxBytes: Number(maxBytes),
        signal,
      });
      yield { sizeBytes: BigInt(sizeBytes) };
      for await (const part of data) yield { data: part };
    },
    writeFile: async (requests, { signal }) => {
      const messages = requests[Symbol.asyncIterator]();
      const first = await messages.next();
      if (first.done === true) throw nothing();
      const { workspace: reference, path, data } = first.value;
      const content = contentOf(data, messages);
      const written = await writeFile(workspaces.find(reference), path, content, signal);
      return { path: written.path, bytesWritten: BigInt(written.bytesWritten) };
    },
    editFile: async ({ workspace: reference, path, oldText, newText, replaceAll }, { signal }) => {
      const change = { oldText, newText, replaceAll };
      const edited = await editFile(workspaces.find(reference), path, change, signal);
      return { ...edited, sizeBytes: BigInt(edited.sizeBytes) };
    },
    applyPatch: async ({ workspace: reference, patch }, { signal }) => {
      const { changed, entries } = await patchFiles(workspaces.find(reference), patch, signal);
      return {
        changed,
        entries: entries.map(({ path, change, from }) => ({ path, change, from: from ?? "" })),
      };
    },
  };
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
