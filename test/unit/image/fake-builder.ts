import { appendFile, open, readFile } from "node:fs/promises";
import type { ImageBuild, ImageBuilder } from "../../../src/image/index.js";

/** Writes what it was given into the target's first bytes, as a builder VM would unpack layers. */
export class FakeBuilder implements ImageBuilder {
  readonly builds: ImageBuild[] = [];
  /** Runs in the middle of each build. */
  during: (build: ImageBuild) => Promise<void> = () => Promise.resolve();
  readonly #log: string | undefined;

  constructor(log?: string) {
    this.#log = log;
  }

  async build(build: ImageBuild): Promise<{ entryCount: number; usedBytes: number }> {
    this.builds.push(build);
    if (this.#log !== undefined) await appendFile(this.#log, "build\n");
    await using target = await open(build.target, "r+");
    await target.write("half");
    build.onProgress?.({ phase: "unpack", bytesDone: 1, bytesTotal: 2 });
    build.onOutput?.(Buffer.from("Setting up alpha\n"));
    await this.during(build);
    build.signal?.throwIfAborted();
    let position = 0;
    for (const layer of build.layers) {
      const bytes = (await readFile(layer.path)).subarray(0, 1024);
      await target.write(bytes, 0, bytes.length, position);
      position += bytes.length;
    }
    return { entryCount: build.layers.length, usedBytes: position };
  }
}

/** For tests that have nothing to do with registries. */
export const noImages = (): Promise<never> => Promise.reject(new Error("there are no registries here"));
