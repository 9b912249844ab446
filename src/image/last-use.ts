import { mkdir, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { safeName, type ImageLayout } from "./layout.js";

/** Uses in quick succession are one. */
const TOUCH_MS = 60_000;

/** When environments were used last: the time of an empty file for each, so that noting it costs next to nothing. */
export class LastUse {
  readonly #noted = new Map<string, number>();

  constructor(private readonly layout: ImageLayout) {}

  /** Notes that it is used now. Never rejects: a full disk keeps nobody from using it. */
  async note(name: string, nowMs = Date.now()): Promise<void> {
    if (Math.abs(nowMs - (this.#noted.get(name) ?? -Infinity)) < TOUCH_MS) return;
    this.#noted.set(name, nowMs);
    const path = this.#path(name);
    const now = new Date(nowMs);
    try {
      await utimes(path, now, now).catch(async () => {
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        await writeFile(path, "");
        await utimes(path, now, now);
      });
    } catch {
      this.#noted.delete(name);
    }
  }

  /** Milliseconds since 1970; undefined where it was never used, as far as is known. */
  async of(name: string): Promise<number | undefined> {
    return await stat(this.#path(name)).then(
      ({ mtimeMs }) => Math.round(mtimeMs),
      () => undefined,
    );
  }

  /** Forgets it. */
  async forget(name: string): Promise<void> {
    this.#noted.delete(name);
    await rm(this.#path(name), { force: true });
  }

  /** Forgets all but these. */
  async sweep(names: readonly string[]): Promise<void> {
    const known = new Set(names.map(safeName));
    const noted = await readdir(this.layout.uses).catch(() => []);
    for (const file of noted) if (!known.has(file)) await rm(join(this.layout.uses, file), { force: true });
  }

  #path(name: string): string {
    return join(this.layout.uses, safeName(name));
  }
}
