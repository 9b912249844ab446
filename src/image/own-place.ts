import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { FileLock } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { safeName } from "./layout.js";
import { environmentExists, requireOwnName } from "./names.js";
import type { EnvironmentStore } from "./store.js";
import { takeDirectory } from "./taken-directory.js";

/**
 * Where an environment of this host's own is made: a directory of the cache under its name, locked. What a daemon that was
 * killed left there the next one removes, like that of a pull. Disposing of it removes the directory.
 */
export class OwnPlace implements AsyncDisposable {
  private constructor(
    readonly name: string,
    readonly directory: string,
    private readonly lock: FileLock,
  ) {}

  /** @throws {PyroError} INVALID_ARGUMENT, ENVIRONMENT_EXISTS unless `overwrite`, ENVIRONMENT_BUSY */
  static async open(
    store: EnvironmentStore,
    name: string,
    { overwrite }: { readonly overwrite: boolean },
  ): Promise<OwnPlace> {
    requireOwnName(store.catalogue, name);
    const { layout } = store;
    const directory = join(layout.pulls, safeName(name));
    const busy = (): PyroError =>
      new PyroError("ENVIRONMENT_BUSY", `environment "${name}" is being made already`, {
        hint: "wait for it, or choose another name",
        retryable: true,
      });
    const lock = await takeDirectory(directory, [layout.images, layout.manifests], busy);
    const place = new OwnPlace(name, directory, lock);
    if (overwrite || (await store.manifest(name)) === undefined) return place;
    await place[Symbol.asyncDispose]();
    throw environmentExists(name, "--overwrite");
  }

  /** A path in the directory. */
  path(file: string): string {
    return join(this.directory, file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
    await this.lock[Symbol.asyncDispose]();
  }
}
