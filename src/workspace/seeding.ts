import { LIMITS, PyroError } from "../protocol/index.js";
import { WORKSPACE_PATH } from "./command-line.js";
import type { Report } from "./operation.js";
import { openSeed, sweepSeeds, type SeedSource } from "./seed/index.js";
import type { Pushed } from "./transfer.js";
import type { Populate } from "./making.js";
import type { Workspace } from "./workspace.js";
import type { WorkspaceMachine } from "./workspace-machine.js";

/** Brings files of the host into workspaces. */
export class Seeding {
  /** `scratch`: a private directory for what has to be made first. */
  constructor(private readonly scratch: string) {}

  /** Removes what an earlier daemon left. */
  async sweep(): Promise<void> {
    await sweepSeeds(this.scratch);
  }

  /** Fills a new workspace. */
  from(source: SeedSource): Populate {
    return async (machine, report, signal) => {
      const { origin, entryCount, bytes, warnings } = await this.#pour(
        source,
        WORKSPACE_PATH,
        machine,
        report,
        signal,
      );
      return { seed: { ...origin, entryCount, bytes }, warnings: [...warnings] };
    };
  }

  /**
   * Brings a directory, a file or an archive into a workspace: overwrites, never deletes, and is not atomic.
   * @throws {PyroError} SEED_…, GUEST_FILE_REFUSED, GUEST_DISK_FULL: what came before stays
   */
  async push(
    workspace: Workspace,
    machine: WorkspaceMachine,
    { path, destination }: { readonly path: string; readonly destination: string },
    report: Report,
  ): Promise<Pushed> {
    const { signal } = workspace;
    try {
      const poured = await this.#pour({ kind: "path", path }, destination, machine, report, signal);
      await workspace.note({ kind: "sync_push", path: destination, detail: path });
      await workspace.touch();
      const { origin, entryCount, bytes, warnings } = poured;
      const shown = workspace.secrets.redactor.values({ destination, warnings });
      return { mode: origin.mode, entryCount, bytesWritten: bytes, ...shown };
    } catch (thrown) {
      throw halfPushed(PyroError.from(thrown), workspace.id, destination);
    }
  }

  async #pour(
    source: SeedSource,
    destination: string,
    machine: WorkspaceMachine,
    report: Report,
    signal: AbortSignal,
  ) {
    await using seed = await openSeed(source, {
      ...{ signal, scratch: this.scratch, repositoryTimeoutMs: LIMITS.repositoryTimeoutMs },
      onProgress: ({ entryCount, bytes }) =>
        report({ message: `copying files: ${entryCount} entries, ${Math.round(bytes / 1e6)} MB` }),
    });
    const stream = seed.stream();
    try {
      if (source.kind !== "empty") await machine.files.extract(Buffer.from(destination), stream, { signal });
    } finally {
      // A stream that was begun is ended before its seed is disposed of.
      await stream.return();
    }
    const { origin, entryCount, bytes, warnings } = seed;
    return { origin, entryCount, bytes, warnings };
  }
}

function halfPushed(error: PyroError, id: string, destination: string): PyroError {
  const reset = `what came before it is in ${destination}; \`pyro workspace reset ${id}\` undoes all changes`;
  return new PyroError(error.code, error.message, {
    hint: error.hint === "" ? reset : `${error.hint}; ${reset}`,
    details: error.details,
    retryable: error.retryable,
    cause: error,
  });
}
