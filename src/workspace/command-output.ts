import { mkdir, open, readFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../protocol/index.js";
import { fileStore, Spool, type SpoolWindow } from "./spool.js";

/** What is kept of each stream by itself: the most that a caller may ask for (contract section 2). */
const STREAM_BYTES = 64 * 1024;

/** The output of a command: everything in order of arrival, and the streams apart, shorter. */
export interface CommandOutputView {
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

type Name = "all" | "stdout" | "stderr";
const NAMES = ["all", "stdout", "stderr"] as const;
const TOTALS_BYTES = NAMES.length * 8;

/**
 * Output in files, so that it survives whoever writes it: one per spool, and one with how much each has taken in. That
 * one is written last. What a process that was killed wrote beyond it comes again from the guest, to the same places.
 */
export class CommandOutput implements AsyncDisposable {
  private constructor(
    private readonly spools: Readonly<Record<Name, Spool>>,
    private readonly totals: FileHandle,
  ) {}

  /** In a directory of its own, which is made; the caller removes it. */
  static async create(directory: string): Promise<CommandOutput> {
    await mkdir(directory, { mode: 0o700 });
    const totals = await open(join(directory, "totals"), "wx+", 0o600);
    return new CommandOutput(await openSpools(directory, undefined), totals);
  }

  /** Goes on where another process left off, or only reads. */
  static async reopen(directory: string): Promise<CommandOutput> {
    const bytes = await readFile(join(directory, "totals"));
    // Killed before its first write: nothing was taken in.
    const written = bytes.length === TOTALS_BYTES ? bytes : Buffer.alloc(TOTALS_BYTES);
    const taken = (index: number): number => Number(written.readBigUInt64LE(8 * index));
    const spools = await openSpools(directory, { all: taken(0), stdout: taken(1), stderr: taken(2) });
    return new CommandOutput(spools, await open(join(directory, "totals"), "r+"));
  }

  /** How much of each stream was taken in. */
  get position(): { readonly stdout: number; readonly stderr: number } {
    return { stdout: this.spools.stdout.totalBytes, stderr: this.spools.stderr.totalBytes };
  }

  /** What it takes on the disk. */
  get keptBytes(): number {
    return NAMES.reduce(
      (sum, name) => sum + Math.min(this.spools[name].totalBytes, this.spools[name].limitBytes),
      0,
    );
  }

  /** Resolves when the bytes are stored. One append at a time. */
  async append(stream: "stdout" | "stderr", data: Uint8Array): Promise<void> {
    await this.spools.all.append(data);
    await this.spools[stream].append(data);
    const totals = Buffer.alloc(TOTALS_BYTES);
    NAMES.forEach((name, index) => totals.writeBigUInt64LE(BigInt(this.spools[name].totalBytes), 8 * index));
    await this.totals.write(totals, 0, TOTALS_BYTES, 0);
  }

  async view(offset: number, maxBytes: number): Promise<CommandOutputView> {
    const { all, stdout, stderr } = this.spools;
    return {
      window: await all.window(offset, maxBytes),
      totalBytes: all.totalBytes,
      droppedBytes: all.droppedBytes,
      stdout: await viewOf(stdout, maxBytes),
      stderr: await viewOf(stderr, maxBytes),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(NAMES.map((name) => this.spools[name][Symbol.asyncDispose]()));
    await this.totals.close().catch(() => undefined);
  }
}

async function openSpools(
  directory: string,
  totals: Readonly<Record<Name, number>> | undefined,
): Promise<Record<Name, Spool>> {
  const spool = async (name: Name, limitBytes: number): Promise<Spool> =>
    new Spool(await fileStore(join(directory, name), totals !== undefined), limitBytes, totals?.[name] ?? 0);
  return {
    all: await spool("all", LIMITS.runOutputBytes),
    stdout: await spool("stdout", STREAM_BYTES),
    stderr: await spool("stderr", STREAM_BYTES),
  };
}

async function viewOf(spool: Spool, maxBytes: number): Promise<StreamView> {
  const { head, tail, cutBytes } = await spool.window(0, maxBytes);
  return { data: Buffer.concat([head, tail]), truncated: cutBytes > 0, totalBytes: spool.totalBytes };
}
