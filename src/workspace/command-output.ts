import { mkdir, open, readFile, writeFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../protocol/index.js";
import { fileStore, Spool, type SpoolPart, type SpoolWindow } from "./spool.js";

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

type Totals = Readonly<Record<Name, number>>;
const NOTHING: Totals = { all: 0, stdout: 0, stderr: 0 };
const LIMIT_BYTES: Totals = {
  all: LIMITS.runOutputBytes,
  stdout: LIMITS.commandStreamBytes,
  stderr: LIMITS.commandStreamBytes,
};

/**
 * Output in files, so that it survives whoever writes it: one per spool, and one with how much each has taken in. That
 * one is written last. What a process that was killed wrote beyond it comes again from the guest, to the same places.
 * The files are open from the first write until it is disposed of, and otherwise only while they are read: hundreds of
 * commands are kept, and few run.
 */
export class CommandOutput implements AsyncDisposable {
  #totals: Totals;
  #writing: Promise<OutputFiles> | undefined;
  #isClosed = false;
  /** Reads in the files that are written; they are not closed under them. */
  readonly #reads = new Set<Promise<unknown>>();

  private constructor(
    private readonly directory: string,
    totals: Totals,
  ) {
    this.#totals = totals;
  }

  /** In a directory of its own, which is made; the caller removes it. */
  static async create(directory: string): Promise<CommandOutput> {
    await mkdir(directory, { mode: 0o700 });
    for (const name of [...NAMES, "totals"])
      await writeFile(join(directory, name), "", { flag: "wx", mode: 0o600 });
    return new CommandOutput(directory, NOTHING);
  }

  /** Goes on where another process left off, or only reads. */
  static async reopen(directory: string): Promise<CommandOutput> {
    const bytes = await readFile(join(directory, "totals"));
    // Killed before its first write: nothing was taken in.
    const written = bytes.length === TOTALS_BYTES ? bytes : Buffer.alloc(TOTALS_BYTES);
    const taken = (index: number): number => Number(written.readBigUInt64LE(8 * index));
    return new CommandOutput(directory, { all: taken(0), stdout: taken(1), stderr: taken(2) });
  }

  /** How much of each stream was taken in. */
  get position(): { readonly stdout: number; readonly stderr: number } {
    const { stdout, stderr } = this.#totals;
    return { stdout, stderr };
  }

  /** What it takes on the disk. */
  get keptBytes(): number {
    return NAMES.reduce((sum, name) => sum + Math.min(this.#totals[name], LIMIT_BYTES[name]), 0);
  }

  /** Resolves when the bytes are stored. One append at a time. */
  async append(stream: "stdout" | "stderr", data: Uint8Array): Promise<void> {
    if (this.#isClosed) throw new Error(`the output in ${this.directory} is closed`);
    this.#writing ??= openFiles(this.directory, this.#totals);
    const { spools, totals: file } = await this.#writing;
    await spools.all.append(data);
    await spools[stream].append(data);
    this.#totals = {
      all: spools.all.totalBytes,
      stdout: spools.stdout.totalBytes,
      stderr: spools.stderr.totalBytes,
    };
    const totals = Buffer.alloc(TOTALS_BYTES);
    NAMES.forEach((name, index) => totals.writeBigUInt64LE(BigInt(this.#totals[name]), 8 * index));
    await file.write(totals, 0, TOTALS_BYTES, 0);
  }

  async view(offset: number, maxBytes: number): Promise<CommandOutputView> {
    return await this.#read((files) => viewOfAll(files, offset, maxBytes));
  }

  /** What is kept of one stream from an offset on, at most so much, and how much right before it is not. */
  async readOn(stream: "stdout" | "stderr", offset: number, maxBytes: number): Promise<SpoolPart> {
    return await this.#read(({ spools }) => spools[stream].readOn(offset, maxBytes));
  }

  async #read<T>(body: (files: OutputFiles) => Promise<T>): Promise<T> {
    if (this.#writing === undefined) {
      await using files = await openFiles(this.directory, this.#totals);
      return await body(files);
    }
    const read = this.#writing.then(body);
    this.#reads.add(read);
    return await read.finally(() => this.#reads.delete(read));
  }

  /** No more is written, by this object: another process may go on. It can still be read. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    const writing = this.#writing;
    this.#writing = undefined;
    await Promise.allSettled(this.#reads);
    await (await writing)?.[Symbol.asyncDispose]();
  }
}

interface OutputFiles extends AsyncDisposable {
  readonly spools: Readonly<Record<Name, Spool>>;
  readonly totals: FileHandle;
}

async function openFiles(directory: string, taken: Totals): Promise<OutputFiles> {
  const spool = async (name: Name): Promise<Spool> =>
    new Spool(await fileStore(join(directory, name), true), LIMIT_BYTES[name], taken[name]);
  const totals = await open(join(directory, "totals"), "r+");
  const spools = { all: await spool("all"), stdout: await spool("stdout"), stderr: await spool("stderr") };
  return {
    ...{ spools, totals },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(NAMES.map((name) => spools[name][Symbol.asyncDispose]()));
      await totals.close();
    },
  };
}

async function viewOfAll(
  { spools: { all, stdout, stderr } }: OutputFiles,
  offset: number,
  maxBytes: number,
): Promise<CommandOutputView> {
  return {
    window: await all.window(offset, maxBytes),
    totalBytes: all.totalBytes,
    droppedBytes: all.droppedBytes,
    stdout: await viewOf(stdout, maxBytes),
    stderr: await viewOf(stderr, maxBytes),
  };
}

async function viewOf(spool: Spool, maxBytes: number): Promise<StreamView> {
  const { head, tail, cutBytes } = await spool.window(0, maxBytes);
  return { data: Buffer.concat([head, tail]), truncated: cutBytes > 0, totalBytes: spool.totalBytes };
}
