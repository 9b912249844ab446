import type { Socket } from "node:net";
import { finished } from "node:stream/promises";
import { inletOf, type ReadableSocket } from "./inlet.js";
import type { GuestPipe } from "./pipe.js";
import type { Refusal } from "./verdict.js";

/** Decides which of a program's bytes go on. */
export interface Gate {
  /** What may go on now; undefined: the program sends no more. */
  take(data: Uint8Array | undefined): readonly Uint8Array[] | Refusal;
  /** How long to wait for more than is held, in ms; undefined: for ever. */
  quietMs(): number | undefined;
  /** Decides about those. */
  settle(): readonly Uint8Array[] | Refusal;
}

/** Holds nothing. */
export const OPEN_GATE: Gate = {
  take: (data) => (data === undefined ? [] : [data]),
  quietMs: () => undefined,
  settle: () => [],
};

const WAITS = Symbol("the program waits");

/** How a connection ended. */
export type ConnectionEnd =
  | { readonly kind: "finished" }
  /** The program reset it, or its machine is gone; or the server did. */
  | { readonly kind: "reset"; readonly by: "program" | "server"; readonly why: string }
  /** By the gateway: the policy changed, its first bytes were refused, the workspace closes. */
  | { readonly kind: "ended"; readonly why: string; readonly verdict?: Refusal };

/**
 * Carries bytes between a program of the guest and a server, each side held back by the other. Neither is read ahead of
 * what the other took, but for what one socket and the pipe's credit hold.
 */
export class Connection {
  bytesUp = 0;
  bytesDown = 0;
  #end: ConnectionEnd | undefined;
  #reading: Promise<Uint8Array | undefined> | undefined;

  constructor(
    private readonly pipe: GuestPipe,
    private readonly socket: ReadableSocket,
    private readonly gate: Gate,
  ) {}

  /** Ends it from here; the program and the server see a reset. */
  end(end: ConnectionEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.pipe.reset(end.kind === "finished" ? "" : end.why);
    this.socket.resetAndDestroy();
  }

  /** Carries until both have ended. Never rejects. */
  async carry(): Promise<ConnectionEnd> {
    const { pipe, socket } = this;
    socket.on("error", (error) => this.end({ kind: "reset", by: "server", why: nameOf(error) }));
    const onBroken = (): void => this.#lost(pipe.broken.reason);
    pipe.broken.addEventListener("abort", onBroken, { once: true });
    if (pipe.broken.aborted) onBroken();
    await Promise.all([
      this.#up().catch((error: unknown) => this.#lost(error)),
      this.#down().catch((error: unknown) => this.#lost(error)),
    ]);
    pipe.broken.removeEventListener("abort", onBroken);
    socket.destroy();
    if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
    return this.#end ?? { kind: "finished" };
  }

  #lost(error: unknown): void {
    this.end({ kind: "reset", by: "program", why: error instanceof Error ? error.message : String(error) });
  }

  async #up(): Promise<void> {
    const { socket } = this;
    for (;;) {
      const data = await this.#next();
      const pass = data === WAITS ? this.gate.settle() : this.gate.take(data);
      if ("allowed" in pass) {
        this.end({ kind: "ended", why: pass.reason, verdict: pass });
        return;
      }
      for (const bytes of pass) {
        this.bytesUp += bytes.length;
        if (!socket.write(bytes)) await drained(socket);
        if (socket.destroyed) return;
      }
      if (data === undefined) break;
    }
    socket.end();
    // What it still holds has to leave before it may be closed.
    await finished(socket, { readable: false }).catch(() => undefined);
  }

  /** What the program sends next; or that it sends nothing more while some of its bytes are held. */
  async #next(): Promise<Uint8Array | undefined | typeof WAITS> {
    this.#reading ??= this.pipe.read();
    let timer: NodeJS.Timeout | undefined;
    const quietMs = this.gate.quietMs();
    if (quietMs !== undefined) {
      const quiet = new Promise<typeof WAITS>((resolve) => {
        timer = setTimeout(() => resolve(WAITS), quietMs);
      });
      const next = await Promise.race([this.#reading, quiet]).finally(() => clearTimeout(timer));
      if (next === WAITS) return WAITS;
    }
    const data = await this.#reading;
    this.#reading = undefined;
    return data;
  }

  async #down(): Promise<void> {
    const inlet = inletOf(this.socket);
    for (let bytes = await inlet.next(); bytes !== undefined; bytes = await inlet.next()) {
      await this.pipe.write(bytes);
      this.bytesDown += bytes.length;
    }
    await this.pipe.finish();
  }
}

async function drained(socket: Socket): Promise<void> {
  if (socket.destroyed || !socket.writableNeedDrain) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}

function nameOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.message;
}
