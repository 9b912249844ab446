import { constants, type ClientHttp2Stream, type OutgoingHttpHeaders } from "node:http2";
import type { DescMethod } from "@bufbuild/protobuf";
import { LIMITS } from "../protocol/index.js";
import { failureOfAnswer, lost, violation, WireFailure } from "./wire-failure.js";

/** Opens a stream of the session; throws where that has ended. */
export type OpenStream = (headers: OutgoingHttpHeaders) => ClientHttp2Stream;

/** One call on a stream of its own. Whatever goes wrong with it is told by what reads the answer. */
export class WireCall implements Disposable {
  readonly #stream: ClientHttp2Stream;
  readonly #status: Promise<number>;
  #failed: { readonly error: unknown } | undefined;
  readonly #leave = (): void => this.#stream.close(constants.NGHTTP2_CANCEL);

  constructor(
    openStream: OpenStream,
    method: DescMethod,
    contentType: "application/proto" | "application/connect+proto",
    private readonly signal: AbortSignal | undefined,
  ) {
    signal?.throwIfAborted();
    this.#stream = openStream({
      ":method": "POST",
      ":path": `/${method.parent.typeName}/${method.name}`,
      "content-type": contentType,
      "connect-protocol-version": "1",
    });
    this.#status = statusOf(this.#stream);
    // Heard by who reads; a call that is left before that is nobody's failure.
    this.#status.catch(() => undefined);
    signal?.addEventListener("abort", this.#leave, { once: true });
  }

  /** Ends the call: whoever reads the answer gets the error. */
  fail(error: unknown): void {
    this.#failed ??= { error };
    this.#leave();
  }

  /** The last bytes of the request. */
  end(bytes?: Uint8Array): void {
    this.#stream.end(bytes);
  }

  /** Resolves when there is room for more; false when no more is wanted. */
  async send(bytes: Uint8Array): Promise<boolean> {
    const stream = this.#stream;
    if (!stream.writable) return false;
    if (!stream.write(bytes)) {
      await new Promise<void>((resolve) => {
        const go = (): void => {
          stream.off("drain", go).off("close", go);
          resolve();
        };
        stream.on("drain", go).on("close", go);
      });
    }
    return stream.writable;
  }

  /**
   * The bytes of the answer as they come.
   * @throws {WireFailure} what the daemon told, or that it was lost; the signal's reason
   */
  async *answer(): AsyncGenerator<Buffer> {
    try {
      const status = await this.#status;
      const chunks = this.#stream as AsyncIterable<Buffer>;
      if (status !== 200) throw failureOfAnswer(status, await collect(chunks));
      yield* chunks;
      // A stream that was reset just ends.
      const { rstCode } = this.#stream;
      if (rstCode !== constants.NGHTTP2_NO_ERROR) throw lost(`the stream was reset (${rstCode})`);
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /** The whole answer. */
  async body(): Promise<Buffer> {
    return await collect(this.answer());
  }

  /** Leaves the call, where it is not over. */
  [Symbol.dispose](): void {
    this.signal?.removeEventListener("abort", this.#leave);
    const { readableEnded, writableEnded } = this.#stream;
    if (!readableEnded || !writableEnded) this.#leave();
  }

  #failure(error: unknown): unknown {
    if (this.signal?.aborted === true) return this.signal.reason;
    if (this.#failed !== undefined) return this.#failed.error;
    if (error instanceof WireFailure) return error;
    return lost(error instanceof Error ? error.message : String(error), error);
  }
}

/** The status of the answer; rejects where none comes. */
function statusOf(stream: ClientHttp2Stream): Promise<number> {
  return new Promise((resolve, reject) => {
    stream.once("response", (headers) => resolve(headers[":status"] ?? 0));
    // Stays: what breaks later is met by who reads, and is no uncaught error.
    stream.on("error", reject);
    stream.once("close", () => reject(new Error(`the stream ended without an answer (${stream.rstCode})`)));
  });
}

async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes > LIMITS.wireMessageBytes)
      throw violation(`a message of more than ${LIMITS.wireMessageBytes} bytes`);
    parts.push(chunk);
  }
  return Buffer.concat(parts);
}
