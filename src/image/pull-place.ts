import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type * as z from "zod";
import { readJsonFile, writeFileAtomic, type FileLock } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { safeName, type ImageLayout } from "./layout.js";
import { dropPartial } from "./sweep.js";
import { LOCK, takeDirectory } from "./taken-directory.js";

/** Where one environment is being made: a directory of its own, with a record of each phase that is over. */
export class PullPlace implements AsyncDisposable {
  #finished = false;

  private constructor(
    readonly directory: string,
    private readonly lock: FileLock,
  ) {}

  /**
   * Takes the environment's place.
   * @param fresh forgets what earlier pulls of it finished
   * @throws {PyroError} ENVIRONMENT_BUSY where another process pulls it into the same cache
   */
  static async open(
    layout: ImageLayout,
    name: string,
    { fresh }: { readonly fresh: boolean },
  ): Promise<PullPlace> {
    const directory = join(layout.pulls, safeName(name));
    const busy = (): PyroError =>
      new PyroError("ENVIRONMENT_BUSY", `another process is pulling ${name} into this cache`, {
        hint: "wait for it, then try again",
        retryable: true,
      });
    const lock = await takeDirectory(directory, [layout.images, layout.manifests], busy);
    const place = new PullPlace(directory, lock);
    if (fresh)
      for (const record of ["installed", "unpacked", "assembled", "fetched"]) await place.forget(record);
    return place;
  }

  path(file: string): string {
    return join(this.directory, file);
  }

  /** What a phase left; undefined where it is not over. */
  async read<T>(phase: string, schema: z.ZodType<T>): Promise<T | undefined> {
    return schema.safeParse(await readJsonFile(this.path(`${phase}.json`))).data;
  }

  /** Ends a phase: everything that the record speaks of is durable by now. */
  async write(phase: string, record: unknown): Promise<void> {
    await writeFileAtomic(this.path(`${phase}.json`), `${JSON.stringify(record)}\n`);
  }

  async forget(phase: string): Promise<void> {
    await rm(this.path(`${phase}.json`), { force: true });
  }

  /** The environment is there: nothing here is needed any more. */
  finish(): void {
    this.#finished = true;
  }

  /** Ends the pull: all of it goes when it succeeded, else all but what the next one can use. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#finished) await dropPartial(this.directory);
    const isEmpty = (await readdir(this.directory)).every((file) => file === LOCK);
    if (this.#finished || isEmpty) await rm(this.directory, { recursive: true, force: true });
    await this.lock[Symbol.asyncDispose]();
  }
}
