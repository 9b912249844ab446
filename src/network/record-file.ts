import { appendFile, readFile, rename, stat } from "node:fs/promises";
import * as z from "zod";
import { failpoint } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import type { Saved } from "./entry.js";

const text = z.string().max(4096).optional();
const count = z.number().nonnegative();
const savedSchema = z.object({
  entry: z.object({
    sequence: z.int().positive(),
    kind: z.enum(["connection", "name", "published"]),
    atMs: count,
    name: text,
    address: text,
    port: z.int().optional(),
    decision: z.enum(["open", "allowed", "refused", "failed"]),
    reason: text,
    hint: text,
    openedBy: text,
    bytesUp: count,
    bytesDown: count,
    durationMs: count.optional(),
    end: text,
    times: count.optional(),
  }),
  totals: z.object({
    connections: count,
    published: count,
    refused: count,
    failed: count,
    bytesUp: count,
    bytesDown: count,
  }),
});

/** Lines that wait while the disk does not take them; further ones are lost to the file, not to the totals. */
const WAITING_LINES = 2_000;

/**
 * Entries as JSON lines, each with the totals up to it, so that the last line tells them whatever was rotated away. Two
 * files of half of LIMITS.networkRecordBytes each, `path` and `path.1`. A disk that takes nothing loses lines, never the caller.
 */
export class RecordFile {
  #waiting: string[] = [];
  #writing: Promise<void> | undefined;
  #sizeBytes: number | undefined;

  constructor(
    private readonly path: string,
    private readonly bytesMax: number = LIMITS.networkRecordBytes,
  ) {}

  /** What the files hold, the oldest first; lines cut off by a crash are left out. */
  async read(): Promise<readonly Saved[]> {
    const texts = await Promise.all(
      [`${this.path}.1`, this.path].map((path) => readFile(path, "utf8").catch(() => "")),
    );
    return texts.flatMap((all) => all.split("\n")).flatMap((line) => parseLine(line) ?? []);
  }

  append(saved: Saved): void {
    if (this.#waiting.length >= WAITING_LINES) return;
    this.#waiting.push(`${JSON.stringify(saved)}\n`);
    this.#writing ??= this.#writeAll().finally(() => (this.#writing = undefined));
  }

  /** Resolves when all that was appended is written, or could not be. */
  async close(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const lines = this.#waiting.splice(0).join("");
      try {
        this.#sizeBytes ??= await this.#begin();
        if (this.#sizeBytes + lines.length > this.bytesMax / 2 && this.#sizeBytes > 0) {
          await rename(this.path, `${this.path}.1`);
          failpoint("rotation.renamed");
          this.#sizeBytes = 0;
        }
        await appendFile(this.path, lines, { mode: 0o600 });
        this.#sizeBytes += lines.length;
      } catch {
        // The next lines carry the totals again.
      }
    }
  }

  /** The size of what is there; a line that a crash cut off is ended, so that the next one is whole. */
  async #begin(): Promise<number> {
    const size = await stat(this.path).then(
      (facts) => facts.size,
      () => 0,
    );
    if (size > 0) await appendFile(this.path, "\n");
    return size;
  }
}

function parseLine(line: string): Saved | undefined {
  if (line === "") return undefined;
  try {
    const { data } = savedSchema.safeParse(JSON.parse(line));
    return data as Saved | undefined;
  } catch {
    return undefined;
  }
}
