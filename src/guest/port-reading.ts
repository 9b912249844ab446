import type { OnReadOpts, Socket } from "node:net";

const READ_BYTES = 64 * 1024;

/**
 * How the link's socket is read: into one buffer, again and again. A stream would make one of 64 KiB for each read, memory
 * outside of the heap, for which V8 looks through all of the heap every 32 MB.
 */
export class PortReading {
  readonly onread: OnReadOpts = {
    buffer: Buffer.allocUnsafeSlow(READ_BYTES),
    callback: (count, buffer) => this.#take(Buffer.from(buffer.buffer, buffer.byteOffset, count)),
  };
  /** What came before anybody was there to take it; then no more is read. */
  #early: Buffer | undefined;
  #receive: ((bytes: Buffer) => void) | undefined;

  /** From now on `receive` is called with what comes; the bytes are its own until it returns. */
  begin(socket: Socket, receive: (bytes: Buffer) => void): void {
    this.#receive = receive;
    if (this.#early !== undefined) receive(this.#early);
    this.#early = undefined;
    socket.resume();
  }

  #take(bytes: Buffer): boolean {
    if (this.#receive === undefined) this.#early = bytes;
    else this.#receive(bytes);
    return this.#receive !== undefined;
  }
}
