import { connect, type Socket, type TcpNetConnectOpts } from "node:net";
import { LIMITS } from "../protocol/index.js";

/** Where a connection's bytes come from, each read when it is asked for. One reader. */
export interface Inlet {
  /**
   * The next bytes, which hold until the next call; undefined when no more will come.
   * @throws {Error} what the socket says, or that it was closed
   */
  next(): Promise<Uint8Array | undefined>;
}

/** A socket, and how it is read where that is not as a stream. */
export type ReadableSocket = Socket & { readonly inlet?: Inlet };

/** How to read a socket, however it was made. */
export function inletOf(socket: ReadableSocket): Inlet {
  if (socket.inlet !== undefined) return socket.inlet;
  const chunks = socket.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer, undefined>;
  return { next: async () => (await chunks.next()).value };
}

/**
 * Begins to connect a socket that is read into one buffer, again and again. A stream makes a buffer of 64 KiB for each read, memory outside
 * of the heap; every 32 MB of those V8 looks through all of the heap, which was most of what a download cost.
 */
export function connectWithOneBuffer(to: TcpNetConnectOpts): ReadableSocket {
  const inlet = new BufferInlet();
  const socket = connect({
    ...to,
    onread: {
      buffer: Buffer.allocUnsafeSlow(LIMITS.networkReadBytes),
      callback: (count, buffer) => {
        inlet.take(buffer.subarray(0, count));
        // No more of it until these were taken.
        return false;
      },
    },
  });
  inlet.attach(socket);
  return Object.assign(socket, { inlet });
}

class BufferInlet implements Inlet {
  #socket: Socket | undefined;
  #held: Uint8Array | undefined;
  #isReading = true;
  #isEnded = false;
  #failure: Error | undefined;
  #wake: () => void = () => undefined;

  attach(socket: Socket): void {
    this.#socket = socket;
    socket.on("end", () => {
      this.#isEnded = true;
      this.#wake();
    });
    socket.on("error", (error) => (this.#failure = error));
    socket.on("close", () => {
      this.#failure ??= new Error("the socket was closed");
      this.#wake();
    });
  }

  take(bytes: Uint8Array): void {
    this.#isReading = false;
    this.#held = bytes;
    this.#wake();
  }

  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      const held = this.#held;
      this.#held = undefined;
      if (held !== undefined) return held;
      if (this.#isEnded) return undefined;
      if (this.#failure !== undefined) throw this.#failure;
      if (!this.#isReading) {
        this.#isReading = true;
        this.#socket?.resume();
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
