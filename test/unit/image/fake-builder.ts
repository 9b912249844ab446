import { randomUUID } from "node:crypto";
import { appendFile, open, writeFile } from "node:fs/promises";
import type { BuildLayer, ImageBuild, ImageBuilder } from "../../../src/image/index.js";
import { qcow2Header } from "./qcow2.js";

/** A build whose layers are there. */
type BegunBuild = Omit<ImageBuild, "layers"> & { readonly layers: readonly BuildLayer[] };

/** Behind the header. */
const CONTENT_AT = qcow2Header().length;

/** Writes what it was given into the target's first bytes, as a builder VM would unpack layers. */
export class FakeBuilder implements ImageBuilder {
  /** Those whose layers came to be there. */
  readonly builds: BegunBuild[] = [];
  /** Builds that began. */
  started = 0;
  /** Builds that wait for their layers. */
  waiting = 0;
  /** Runs in the middle of each build. */
  during: (build: BegunBuild) => Promise<void> = () => Promise.resolve();
  readonly #log: string | undefined;

  constructor(log?: string) {
    this.#log = log;
  }

  /** No two are the same. */
  async makeDisk(target: string): Promise<void> {
    if (this.#log !== undefined) await appendFile(this.#log, "disk\n");
    await writeFile(target, Buffer.concat([qcow2Header(), Buffer.alloc(60_000), Buffer.from(randomUUID())]));
  }

  async build(request: ImageBuild): Promise<{ entryCount: number; usedBytes: number }> {
    this.started += 1;
    this.waiting += 1;
    const layers = await request.layers().finally(() => (this.waiting -= 1));
    const build = { ...request, layers };
    this.builds.push(build);
    if (this.#log !== undefined) await appendFile(this.#log, "build\n");
    await using target = await open(build.target, "r+");
    await target.write("half", CONTENT_AT);
    build.onProgress?.({ phase: "unpack", bytesDone: 1, bytesTotal: 2 });
    build.onOutput?.(Buffer.from("Setting up alpha\n"));
    await this.during(build);
    build.signal?.throwIfAborted();
    let position = CONTENT_AT;
    for (const layer of build.layers) {
      await using file = await open(layer.path, "r");
      const bytes = Buffer.alloc(Math.min(1024, layer.sizeBytes));
      await file.read(bytes, 0, bytes.length, layer.offsetBytes ?? 0);
      await target.write(bytes, 0, bytes.length, position);
      position += bytes.length;
    }
    return { entryCount: build.layers.length, usedBytes: position - CONTENT_AT };
  }
}

/** For tests that have nothing to do with registries. */
export const noImages = (): Promise<never> => Promise.reject(new Error("there are no registries here"));
