/** `pyro-mcp/deepagents`: a workspace as the backend of LangChain's Deep Agents. */
import type { BaseSandbox, ExecuteResponse, FileDownloadResponse, FileUploadResponse } from "deepagents";
import type { PyroError } from "../protocol/index.js";
import type { Pyro } from "../sdk/index.js";
import { exitStatus, runCommand } from "./shared/command.js";
import { wholeFile } from "./shared/whole-file.js";
import { checkPeer, missing } from "./shared/peer.js";

checkPeer("deepagents");
const deepagents = await import("deepagents").catch(missing("deepagents"));

/**
 * A workspace as the `backend` of `createDeepAgent`: its files, and `execute`. Commands start in /workspace; of the output
 * of one the head and the tail are kept, 1 MiB of each stream. The workspace stays its maker's, who deletes it.
 * @param workspaceId id, unique prefix of an id, or unique name
 */
export function sandboxBackend(pyro: Pyro, workspaceId: string): BaseSandbox {
  return new Backend(pyro, workspaceId);
}

class Backend extends deepagents.BaseSandbox {
  readonly #pyro: Pyro;
  readonly id: string;

  constructor(pyro: Pyro, workspaceId: string) {
    super();
    this.#pyro = pyro;
    this.id = workspaceId;
  }

  async execute(command: string): Promise<ExecuteResponse> {
    const result = await runCommand(this.#pyro, { workspaceId: this.id, command });
    const { stdout, stderr, stdoutTruncated, stderrTruncated } = result;
    return {
      output: [stdout, stderr].filter((text) => text !== "").join("\n"),
      exitCode: exitStatus(result),
      truncated: stdoutTruncated || stderrTruncated,
    };
  }

  uploadFiles(files: [string, Uint8Array][]): Promise<FileUploadResponse[]> {
    return Promise.all(
      files.map(async ([path, content]) => {
        const write = this.#pyro.writeWorkspaceFile({ workspaceId: this.id, path, content });
        return { path, error: await errorOf(write) };
      }),
    );
  }

  downloadFiles(paths: string[]): Promise<FileDownloadResponse[]> {
    return Promise.all(
      paths.map(async (path) => {
        const read = wholeFile(this.#pyro, this.id, path);
        const error = await errorOf(read);
        return { path, content: error === null ? await read : null, error };
      }),
    );
  }
}

/** The framework's name of a failure that lies in the file; every other one is thrown. */
async function errorOf(work: Promise<unknown>): Promise<FileUploadResponse["error"]> {
  try {
    await work;
    return null;
  } catch (error) {
    const { code } = error as Partial<PyroError>;
    if (code === "GUEST_FILE_NOT_FOUND") return "file_not_found";
    if (code === "GUEST_FILE_REFUSED") return "invalid_path";
    throw error;
  }
}
