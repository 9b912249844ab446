import { randomBytes } from "node:crypto";
import { rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { fingerprintSchema, makeCacheDirectory } from "../image/index.js";
import {
  allocatedBytes,
  failpoint,
  fingerprintOf,
  namesIn,
  readJsonFile,
  sameFingerprint,
  sealFile,
  syncDirectory,
  syncFile,
  writeFileAtomic,
} from "../kit/index.js";
import { PyroError } from "../protocol/index.js";

const layerSchema = z.strictObject({
  format: z.literal(1),
  /** The file's name: another one each time, so that nothing that lies on it is ever put over something else. */
  file: z.string().regex(/^[0-9a-f]{64}-[0-9a-f]{12}\.qcow2$/),
  /** Path of what it lies on, as its header has it. */
  below: z.string(),
  fingerprint: fingerprintSchema,
});

/**
 * Layers of steps that were done, by their keys: a qcow2 file, and a record that is written when the file is whole. When a
 * layer was last used is the record's time.
 */
export class LayerCache {
  constructor(readonly directory: string) {}

  /** The file of a layer over just this; undefined where there is none that is whole. */
  async find(key: string, below: string): Promise<string | undefined> {
    const record = await this.#read(key);
    if (record?.below !== below) return undefined;
    const path = join(this.directory, record.file);
    const now = await fingerprintOf(path).catch(() => undefined);
    if (now === undefined || !sameFingerprint(now, record.fingerprint)) return undefined;
    const used = new Date();
    await utimes(this.#recordPath(key), used, used).catch(() => undefined);
    return path;
  }

  /**
   * Takes a file that nobody writes to any more as a step's layer, and gives where it stands from now on.
   * @throws {PyroError} DISK_FULL among others; nothing of the layer is left in the cache then
   */
  async keep(key: string, from: string, below: string): Promise<string> {
    await makeCacheDirectory(this.directory);
    await sealFile(from);
    await syncFile(from);
    const file = `${key}-${randomBytes(6).toString("hex")}.qcow2`;
    const path = join(this.directory, file);
    await rename(from, path);
    try {
      await this.#record(key, file, below);
    } catch (error) {
      // A disk that has no room for a record needs that of the layer back.
      await rm(path, { force: true });
      throw PyroError.from(error);
    }
    return path;
  }

  async #record(key: string, file: string, below: string): Promise<void> {
    await syncDirectory(this.directory);
    failpoint("build.layer-named");
    const record: z.infer<typeof layerSchema> = {
      format: 1,
      file,
      below,
      fingerprint: await fingerprintOf(join(this.directory, file)),
    };
    await writeFileAtomic(this.#recordPath(key), `${JSON.stringify(record)}\n`);
    failpoint("build.layer-kept");
  }

  /** Removes layers but those of `kept`, and what belongs to no layer; gives their keys and what was freed. */
  async prune(kept: ReadonlySet<string>): Promise<{ keys: string[]; freedBytes: number }> {
    const keys: string[] = [];
    let freedBytes = 0;
    for (const name of await this.#names()) {
      const key = /^([0-9a-f]{64})\.json$/.exec(name)?.[1];
      if (key === undefined || kept.has(key)) continue;
      await rm(join(this.directory, name), { force: true });
      keys.push(key);
    }
    freedBytes += await this.sweep();
    return { keys, freedBytes };
  }

  /** Removes files that no record speaks of; nobody may be building. Gives the bytes that were freed. */
  async sweep(): Promise<number> {
    const names = await this.#names();
    const records = names.filter((name) => /^[0-9a-f]{64}\.json$/.test(name));
    const wanted = new Set<string>(records);
    for (const name of records) {
      const record = await this.#read(name.slice(0, 64));
      if (record !== undefined) wanted.add(record.file);
    }
    let freedBytes = 0;
    for (const name of names) {
      if (wanted.has(name)) continue;
      const path = join(this.directory, name);
      freedBytes += await stat(path).then(allocatedBytes, () => 0);
      await rm(path, { force: true });
    }
    return freedBytes;
  }

  async #read(key: string): Promise<z.infer<typeof layerSchema> | undefined> {
    return layerSchema.safeParse(await readJsonFile(this.#recordPath(key))).data;
  }

  #recordPath(key: string): string {
    return join(this.directory, `${key}.json`);
  }

  async #names(): Promise<string[]> {
    return await namesIn(this.directory);
  }
}
