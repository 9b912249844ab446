import type { RunningCommand } from "../workspace/index.js";

/** A client may be this far ahead of the command; beyond it the connection is no longer read. */
const AHEAD_BYTES = 4 * 1024 * 1024;

/**
 * Standard input on its way to a command, written in order beside whatever else the caller says: a signal does not
 * wait behind input that the command does not read.
 */
export class InputQueue {
  #waitingBytes = 0;
  #acceptedBytes = 0;
  #open = true;
  #ended = false;
  #tail: Promise<void> = Promise.resolve();

  constructor(
    private readonly command: Pick<RunningCommand, "writeInput" | "endInput">,
    private readonly onAccepted: (totalBytes: number) => void,
  ) {}

  /** Queues a piece; resolves at once while the queue is short, else when it drained. */
  async put(data: Uint8Array): Promise<void> {
    if (this.#ended) return;
    this.#waitingBytes += data.length;
    this.#then(async () => {
      if (this.#open) this.#open = await this.command.writeInput(data);
      this.#waitingBytes -= data.length;
      this.#acceptedBytes += data.length;
      this.onAccepted(this.#acceptedBytes);
    });
    if (this.#waitingBytes > AHEAD_BYTES) await this.#tail;
  }

  /** Ends the command's input after what was put before; idempotent. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#then(async () => {
      if (this.#open) await this.command.endInput();
    });
  }

  /** One step after the other; once one fails the machine is gone and the run itself says so. */
  #then(step: () => Promise<void>): void {
    this.#tail = this.#tail.then(step).catch(() => {
      this.#open = false;
    });
  }
}
