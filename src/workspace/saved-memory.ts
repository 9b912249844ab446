import { link, mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { exists, failpoint, syncDirectory } from "../kit/index.js";
import type { WorkspacePaths } from "./record.js";

/**
 * The memory of a suspended workspace, in a directory of its own. It has its name from when it is whole until the machine
 * that goes on from it is about to run; so what has that name fits the disk.
 */
export class SavedMemory {
  readonly directory: string;
  readonly #making: string;
  readonly #spent: string;

  constructor({ memory }: Pick<WorkspacePaths, "memory">) {
    this.directory = memory;
    this.#making = `${memory}.making`;
    this.#spent = `${memory}.spent`;
  }

  /** Whether there is one. */
  exists(): Promise<boolean> {
    return exists(this.directory);
  }

  /** An empty directory, private, to be filled. */
  async begin(): Promise<string> {
    await this.remove();
    await mkdir(this.#making, { mode: 0o700 });
    return this.#making;
  }

  /** The same as an image that is whole already, and is never written again. */
  async link(image: string): Promise<void> {
    const making = await this.begin();
    for (const file of await readdir(image)) await link(join(image, file), join(making, file));
    await this.place();
  }

  /** What was begun is whole. */
  async place(): Promise<void> {
    await rename(this.#making, this.directory);
    await syncDirectory(dirname(this.directory));
    failpoint("suspend.placed");
  }

  /** A machine is about to go on from it: the disk is another from then on. */
  async spend(): Promise<void> {
    await rename(this.directory, this.#spent);
    await syncDirectory(dirname(this.directory));
    failpoint("resume.spent");
  }

  /** Removes it, and whatever is left of one that was begun or spent. */
  async remove(): Promise<void> {
    for (const path of [this.directory, this.#making, this.#spent])
      await rm(path, { recursive: true, force: true });
  }

  /** The same but of one that is whole. */
  async sweep(): Promise<void> {
    for (const path of [this.#making, this.#spent]) await rm(path, { recursive: true, force: true });
  }
}
