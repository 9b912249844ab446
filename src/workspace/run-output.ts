import { LIMITS } from "../protocol/index.js";
import { fileStore, memoryStore, Spool, type SpoolWindow } from "./spool.js";

/** The output of a started run: everything in order of arrival in a file, and the streams apart, shorter, in memory. */
export interface RunOutputView {
  readonly window: SpoolWindow;
  readonly totalBytes: number;
  readonly droppedBytes: number;
  readonly stdout: StreamView;
  readonly stderr: StreamView;
}

export interface StreamView {
  readonly data: Uint8Array;
  readonly truncated: boolean;
  readonly totalBytes: number;
}

/** What is kept of each stream by itself: the most that a caller may ask for (contract section 2). */
const STREAM_BYTES = 64 * 1024;

interface SavedStream {
  readonly total: number;
  readonly kept: string;
}

/** What the output needs to be opened again after the daemon's death. */
export interface SavedOutput {
  readonly total: number;
  readonly stdout: SavedStream;
  readonly stderr: SavedStream;
}

export class RunOutput implements AsyncDisposable {
  private constructor(
    readonly combined: Spool,
    private readonly streams: { readonly stdout: Spool; readonly stderr: Spool },
  ) {}

  static async create(path: string): Promise<RunOutput> {
    return new RunOutput(new Spool(await fileStore(path), LIMITS.runOutputBytes), {
      stdout: new Spool(memoryStore(), STREAM_BYTES),
      stderr: new Spool(memoryStore(), STREAM_BYTES),
    });
  }

  static async reopen(path: string, saved: SavedOutput): Promise<RunOutput> {
    const combined = new Spool(await fileStore(path, true), LIMITS.runOutputBytes, saved.total);
    return new RunOutput(combined, {
      stdout: await restore(saved.stdout),
      stderr: await restore(saved.stderr),
    });
  }

  async append(stream: "stdout" | "stderr", data: Uint8Array): Promise<void> {
    await this.streams[stream].append(data);
    await this.combined.append(data);
  }

  async view(offset: number, maxBytes: number): Promise<RunOutputView> {
    return {
      window: await this.combined.window(offset, maxBytes),
      totalBytes: this.combined.totalBytes,
      droppedBytes: this.combined.droppedBytes,
      stdout: await viewOf(this.streams.stdout, maxBytes),
      stderr: await viewOf(this.streams.stderr, maxBytes),
    };
  }

  async save(): Promise<SavedOutput> {
    return {
      total: this.combined.totalBytes,
      stdout: await saveStream(this.streams.stdout),
      stderr: await saveStream(this.streams.stderr),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.combined[Symbol.asyncDispose]();
  }
}

async function viewOf(spool: Spool, maxBytes: number): Promise<StreamView> {
  const { head, tail, cutBytes } = await spool.window(0, maxBytes);
  return { data: Buffer.concat([head, tail]), truncated: cutBytes > 0, totalBytes: spool.totalBytes };
}

async function saveStream(spool: Spool): Promise<SavedStream> {
  const { head, tail } = await spool.window(0, STREAM_BYTES);
  return { total: spool.totalBytes, kept: Buffer.concat([head, tail]).toString("base64") };
}

/** A stream that goes on where the saved one ended: the kept bytes stand at their places, the rest counts as dropped. */
async function restore({ total, kept }: SavedStream): Promise<Spool> {
  const store = memoryStore();
  const bytes = Buffer.from(kept, "base64");
  const half = Math.floor(STREAM_BYTES / 2);
  await store.write(0, bytes.subarray(0, half));
  const ring = bytes.subarray(half);
  // The ring's oldest byte lies where the next one would go.
  const start = total > STREAM_BYTES ? (total - half) % (STREAM_BYTES - half) : 0;
  await store.write(half + start, ring.subarray(0, STREAM_BYTES - half - start));
  if (start > 0) await store.write(half, ring.subarray(STREAM_BYTES - half - start));
  return new Spool(store, STREAM_BYTES, total);
}
