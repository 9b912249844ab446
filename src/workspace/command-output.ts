import { mkdir, open, readFile, writeFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../protocol/index.js";
import { Redactor, type Redaction, type ScanPosition } from "./secrets/index.js";
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
/** How much was written of each, and of both streams what was taken in for it and what of a secret lies right behind that. */
const TOTALS_BYTES = (NAMES.length + 4) * 8;
/** As versions without secrets have written them: what was written is what was taken in. */
const OLD_TOTALS_BYTES = NAMES.length * 8;

type Stream = "stdout" | "stderr";
const STREAMS = ["stdout", "stderr"] as const;

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
 * Secrets are taken out before anything is written: so there are two counts of each stream, what was taken in from the guest,
 * without what is held back because it may be the beginning of a secret, and what was written for it.
 * The files are open from the first write until it is disposed of, and otherwise only while they are read: hundreds of
 * commands are kept, and few run.
 */
export class CommandOutput implements AsyncDisposable {
  #totals: Totals;
  readonly #redactions: Readonly<Record<Stream, Redaction>>;
  #writing: Promise<OutputFiles> | undefined;
  /** Appends, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #isClosed = false;
  /** Reads in the files that are written; they are not closed under them. */
  readonly #reads = new Set<Promise<unknown>>();

  private constructor(
    private readonly directory: string,
    readonly redactor: Redactor,
    totals: Totals,
    taken: Readonly<Record<Stream, ScanPosition>>,
  ) {
    this.#totals = totals;
    this.#redactions = { stdout: redactor.stream(taken.stdout), stderr: redactor.stream(taken.stderr) };
  }

  /** In a directory of its own, which is made; the caller removes it. */
  static async create(directory: string, redactor = Redactor.none): Promise<CommandOutput> {
    await mkdir(directory, { mode: 0o700 });
    for (const name of [...NAMES, "totals"])
      await writeFile(join(directory, name), "", { flag: "wx", mode: 0o600 });
    const nothing = { taken: 0, covered: undefined };
    return new CommandOutput(directory, redactor, NOTHING, { stdout: nothing, stderr: nothing });
  }

  /** Goes on where another process left off, or only reads. */
  static async reopen(directory: string, redactor = Redactor.none): Promise<CommandOutput> {
    const bytes = await readFile(join(directory, "totals"));
    const isOld = bytes.length === OLD_TOTALS_BYTES;
    // Killed before its first write: nothing was taken in.
    const written = isOld || bytes.length === TOTALS_BYTES ? bytes : Buffer.alloc(TOTALS_BYTES);
    const at = (index: number): number => Number(written.readBigUInt64LE(8 * index));
    const totals = { all: at(0), stdout: at(1), stderr: at(2) };
    const position = (index: number): ScanPosition =>
      isOld
        ? { taken: at(1 + index), covered: undefined }
        : { taken: at(3 + index), covered: at(5 + index) === 0 ? undefined : at(5 + index) - 1 };
    return new CommandOutput(directory, redactor, totals, { stdout: position(0), stderr: position(1) });
  }

  /** How much of each stream was taken in: from there another process reads on. */
  get position(): { readonly stdout: number; readonly stderr: number } {
    const { stdout, stderr } = this.#redactions;
    return { stdout: stdout.position.taken, stderr: stderr.position.taken };
  }

  /** What it takes on the disk. */
  get keptBytes(): number {
    return NAMES.reduce((sum, name) => sum + Math.min(this.#totals[name], LIMIT_BYTES[name]), 0);
  }

  /** What of it may be shown now: to be stored before the next is taken. */
  take(stream: Stream, data: Uint8Array): Uint8Array {
    return this.#redactions[stream].push(data);
  }

  /** No more comes of a stream: what was held back of it, to be stored. */
  takeRest(stream: Stream): Uint8Array {
    return this.#redactions[stream].end();
  }

  /** Resolves when what was taken last is stored; what failed may be tried again. */
  async store(stream: Stream, shown: Uint8Array): Promise<void> {
    await this.#inTurn(() => this.#write(stream, shown));
  }

  /** Both at once. */
  async append(stream: Stream, data: Uint8Array): Promise<Uint8Array> {
    const shown = this.take(stream, data);
    await this.store(stream, shown);
    return shown;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #write(stream: Stream, data: Uint8Array): Promise<void> {
    if (this.#isClosed) throw new Error(`the output in ${this.directory} is closed`);
    const writing = (this.#writing ??= openFiles(this.directory, this.#totals));
    writing.catch(() => {
      if (this.#writing === writing) this.#writing = undefined;
    });
    const { spools, totals: file } = await writing;
    const before = this.#totals;
    try {
      if (data.length > 0) {
        await spools.all.append(data);
        await spools[stream].append(data);
      }
      this.#totals = {
        all: spools.all.totalBytes,
        stdout: spools.stdout.totalBytes,
        stderr: spools.stderr.totalBytes,
      };
      await file.write(this.#totalsBytes(), 0, TOTALS_BYTES, 0);
    } catch (error) {
      this.#totals = before;
      for (const name of NAMES) spools[name].takeBack(before[name]);
      throw error;
    }
  }

  #totalsBytes(): Buffer {
    const positions = STREAMS.map((stream) => this.#redactions[stream].position);
    const values = [
      ...NAMES.map((name) => this.#totals[name]),
      ...positions.map(({ taken }) => taken),
      ...positions.map(({ covered }) => (covered === undefined ? 0 : covered + 1)),
    ];
    const bytes = Buffer.alloc(TOTALS_BYTES);
    values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt(value), 8 * index));
    return bytes;
  }

  /** What a reset or a deletion removed meanwhile is empty. */
  async view(offset: number, maxBytes: number): Promise<CommandOutputView> {
    return await this.#read((files) => viewOfAll(files, offset, maxBytes)).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return emptyView(offset);
    });
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
    await this.#turn;
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

/** All of them or none: a deletion may come in between. */
async function openFiles(directory: string, taken: Totals): Promise<OutputFiles> {
  const totals = await open(join(directory, "totals"), "r+");
  const opened: Spool[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(opened.map((spool) => spool[Symbol.asyncDispose]()));
    await totals.close();
  };
  const spool = async (name: Name): Promise<Spool> => {
    const store = await fileStore(join(directory, name), true);
    const spool = new Spool(store, LIMIT_BYTES[name], taken[name]);
    opened.push(spool);
    return spool;
  };
  try {
    const spools = { all: await spool("all"), stdout: await spool("stdout"), stderr: await spool("stderr") };
    return { spools, totals, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
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

function emptyView(offset: number): CommandOutputView {
  const none = new Uint8Array();
  const stream = { data: none, truncated: false, totalBytes: 0 };
  const window = { offset, head: none, cutBytes: 0, tail: none, nextOffset: offset };
  return { window, totalBytes: 0, droppedBytes: 0, stdout: stream, stderr: stream };
}

async function viewOf(spool: Spool, maxBytes: number): Promise<StreamView> {
  const { head, tail, cutBytes } = await spool.window(0, maxBytes);
  return { data: Buffer.concat([head, tail]), truncated: cutBytes > 0, totalBytes: spool.totalBytes };
}
