import type { Editor } from "@openai/agents";
import type {
  Entry,
  ExecCommandArgs,
  ListDirectoryArgs,
  Manifest,
  MaterializeEntryArgs,
  ReadFileArgs,
  SandboxDirectoryEntry,
  SandboxExecResult,
  SandboxSession,
  SandboxSessionState,
  ViewImageArgs,
  WriteStdinArgs,
} from "@openai/agents/sandbox";
import { PyroError } from "../../protocol/index.js";
import type { Pyro } from "../../sdk/index.js";
import { runCommand } from "../shared/command.js";
import { applyOperation, type PatchOperation } from "../shared/patch.js";
import { wordsOf } from "../shared/words.js";
import { imageType, IMAGE_BYTES } from "./image.js";
import { applyManifest, putEntry } from "./manifest.js";
import { Processes, responseText } from "./processes.js";

/** What a session knows of itself. */
export interface PyroSandboxState extends SandboxSessionState {
  readonly workspaceId: string;
  /** Variables of its commands, by the manifest. */
  environment: Record<string, string>;
}

/** As much of a file as one read gives. */
const READ_BYTES = 64 * 1024 * 1024;
type Image = Awaited<ReturnType<NonNullable<SandboxSession["viewImage"]>>>;

/** A workspace as a session of the Agents SDK. `close` deletes a workspace that was made for the session. */
export class PyroSandboxSession implements SandboxSession<PyroSandboxState> {
  readonly state: PyroSandboxState;
  readonly #pyro: Pyro;
  readonly #isOwned: boolean;
  readonly #processes: Processes;

  /** @param isOwned whether the workspace ends with the session */
  constructor(pyro: Pyro, state: PyroSandboxState, isOwned: boolean) {
    this.state = state;
    this.#pyro = pyro;
    this.#isOwned = isOwned;
    this.#processes = new Processes(pyro, state.workspaceId);
  }

  get #workspaceId(): string {
    return this.state.workspaceId;
  }

  async running(): Promise<boolean> {
    return (await this.#pyro.statusWorkspace(this.#workspaceId)).state === "started";
  }

  async start(): Promise<void> {
    await this.#pyro.startWorkspace(this.#workspaceId);
  }

  supportsPty(): boolean {
    return true;
  }

  async exec(args: ExecCommandArgs): Promise<SandboxExecResult> {
    return await this.#processes.start(args, this.state.environment);
  }

  async execCommand(args: ExecCommandArgs): Promise<string> {
    return await answered(async () => responseText(await this.exec(args)));
  }

  async writeStdin(args: WriteStdinArgs): Promise<string> {
    return await answered(async () => responseText(await this.#processes.write(args)));
  }

  /** Files are read and written as root: `runAs` is for commands. */
  createEditor(runAs?: string): Editor {
    const apply = async (operation: PatchOperation, moveTo?: string) => {
      try {
        onlyRoot(runAs);
        const output = await applyOperation(this.#pyro, this.#workspaceId, operation, undefined);
        if (moveTo !== undefined) await this.#move(operation.path, moveTo);
        return { status: "completed" as const, output };
      } catch (error) {
        return { status: "failed" as const, output: wordsOf(error) };
      }
    };
    return {
      createFile: async (operation) => await apply(operation),
      updateFile: async (operation) => await apply(operation, operation.moveTo),
      deleteFile: async (operation) => await apply(operation),
    };
  }

  async viewImage({ path, runAs }: ViewImageArgs): Promise<Image> {
    const bytes = await this.readFile({
      path,
      maxBytes: IMAGE_BYTES + 1,
      ...(runAs === undefined ? {} : { runAs }),
    });
    if (bytes.length > IMAGE_BYTES)
      throw new PyroError("GUEST_FILE_REFUSED", `${path} exceeds the 10 MB limit`, {
        hint: "make it smaller first",
      });
    const mediaType = imageType(bytes);
    if (mediaType === undefined)
      throw new PyroError("GUEST_FILE_REFUSED", `${path} is not a supported image`, {
        hint: "convert it to PNG",
      });
    return { type: "image", image: { data: Uint8Array.from(bytes), mediaType } };
  }

  async readFile({ path, runAs, maxBytes = READ_BYTES }: ReadFileArgs): Promise<Uint8Array> {
    onlyRoot(runAs);
    const { data } = await this.#pyro.readWorkspaceFile({ workspaceId: this.#workspaceId, path, maxBytes });
    return data;
  }

  async listDir({ path, runAs }: ListDirectoryArgs): Promise<SandboxDirectoryEntry[]> {
    onlyRoot(runAs);
    const { entries } = await this.#pyro.listWorkspaceFiles({ workspaceId: this.#workspaceId, path });
    return entries.map((entry) => ({
      name: entry.path.slice(entry.path.lastIndexOf("/") + 1),
      path: entry.path.replace(/^\/workspace\//, ""),
      type: entry.artifactType === "directory" ? "dir" : entry.artifactType === "file" ? "file" : "other",
    }));
  }

  async pathExists(path: string, runAs?: string): Promise<boolean> {
    return await this.#test("-e", path, runAs);
  }

  async directoryExists(path: string, runAs?: string): Promise<boolean> {
    return await this.#test("-d", path, runAs);
  }

  async materializeEntry({ path, entry, runAs }: MaterializeEntryArgs): Promise<void> {
    onlyRoot(runAs);
    await putEntry(this.#pyro, this.#workspaceId, path, entry);
    (this.state.manifest.entries as Record<string, Entry>)[path] = entry;
  }

  async applyManifest(manifest: Manifest, runAs?: string): Promise<void> {
    onlyRoot(runAs);
    await applyManifest(this.#pyro, this.#workspaceId, manifest);
    Object.assign(this.state.environment, await manifest.resolveEnvironment());
  }

  async delete(): Promise<void> {
    await this.close();
  }

  /** Twice is fine. */
  async close(): Promise<void> {
    if (!this.#isOwned) return;
    await this.#pyro.deleteWorkspace(this.#workspaceId).catch((error: unknown) => {
      if (!GONE.includes(PyroError.from(error).code)) throw error;
    });
  }

  async #move(from: string, to: string): Promise<void> {
    const line = 'mkdir -p -- "$(dirname -- "$2")" && mv -n -- "$1" "$2"';
    const argv = ["sh", "-c", line, "sh", from, to];
    const { exitCode, stderr } = await runCommand(this.#pyro, { workspaceId: this.#workspaceId, argv });
    if (exitCode !== 0) throw new PyroError("GUEST_FILE_REFUSED", stderr.trim());
  }

  async #test(flag: string, path: string, runAs: string | undefined): Promise<boolean> {
    const as = runAs === undefined ? [] : ["runuser", "-u", runAs, "--"];
    const argv = [...as, "test", flag, path];
    return (await runCommand(this.#pyro, { workspaceId: this.#workspaceId, argv })).exitCode === 0;
  }
}

const GONE: readonly string[] = ["WORKSPACE_NOT_FOUND", "WORKSPACE_DELETED"];

/** What could not be done at all is an answer too, which the model can act on. */
async function answered(body: () => Promise<string>): Promise<string> {
  try {
    return await body();
  } catch (error) {
    return wordsOf(error);
  }
}

function onlyRoot(runAs: string | undefined): void {
  if (runAs === undefined || runAs === "root") return;
  throw new PyroError("INVALID_ARGUMENT", `files cannot be touched as ${runAs}`, {
    hint: "use a command: those run as that user",
  });
}
