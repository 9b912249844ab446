import { explainEnd } from "./loss.js";
import type { Workspace } from "./workspace.js";
import type { FileContent, WorkspaceFiles } from "./workspace-files.js";

/** What single calls do with files; whole trees are moved by operations, which explain their failures themselves. */
export type CallableFiles = Pick<WorkspaceFiles, "list" | "read" | "write" | "edit" | "commit" | "changes">;

/**
 * The files of a workspace's machine: a call that fails because the machine ended says how it did.
 * @throws {PyroError} what Workspace.machine throws
 */
export async function filesOf(workspace: Workspace, signal: AbortSignal): Promise<CallableFiles> {
  const machine = await workspace.machine(signal);
  const { files } = machine;
  const explained = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await call;
    } catch (thrown) {
      throw await explainEnd(thrown, machine, workspace);
    }
  };
  async function* explainedParts(parts: AsyncIterable<Uint8Array>): FileContent["data"] {
    try {
      yield* parts;
    } catch (thrown) {
      throw await explainEnd(thrown, machine, workspace);
    }
  }
  return {
    list: (...given) => explained(files.list(...given)),
    read: async (...given) => {
      const { data, ...rest } = await explained(files.read(...given));
      return { ...rest, data: explainedParts(data) };
    },
    write: (...given) => explained(files.write(...given)),
    edit: (...given) => explained(files.edit(...given)),
    commit: (...given) => explained(files.commit(...given)),
    changes: (...given) => explained(files.changes(...given)),
  };
}
