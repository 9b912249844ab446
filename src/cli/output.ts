import type { Writable } from "node:stream";

/** The reader of our output went away, as `head` does: the command ends quietly, as other tools do. */
export class ReaderGone extends Error {
  override readonly name = "ReaderGone";
}

/** Exit status of a program that died of SIGPIPE. */
export const READER_GONE_STATUS = 141;

/** One output stream: each write waits until it is taken. */
export class Output {
  readonly #stream: Writable;
  #gone = false;

  constructor(stream: Writable) {
    this.#stream = stream;
    // Unheard, the event would end the process with a stack trace.
    stream.on("error", () => (this.#gone = true));
  }

  /** @throws {ReaderGone} when nobody reads any more */
  async write(data: Uint8Array | string): Promise<void> {
    if (this.#gone) throw new ReaderGone();
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(data, (error) => {
        if (error === undefined || error === null) resolve();
        else reject(isGone(error) ? new ReaderGone() : error);
      });
    });
  }

  /** A line of ours; a reader that went away is no reason to fail. */
  async say(line: string): Promise<void> {
    await this.write(`${line}\n`).catch((error: unknown) => {
      if (!(error instanceof ReaderGone)) throw error;
    });
  }
}

function isGone(error: Error): boolean {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  return ["EPIPE", "ECONNRESET", "ERR_STREAM_DESTROYED", "ERR_STREAM_WRITE_AFTER_END", "EIO"].includes(code);
}
