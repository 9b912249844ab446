import type { Socket } from "node:net";
import { finished } from "node:stream/promises";
import type { GuestPipe } from "./pipe.js";
import type { Refusal } from "./verdict.js";

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

  constructor(
    private readonly pipe: GuestPipe,
    private readonly socket: Socket,
    /** What of the program's bytes may go on now; undefined: it sends no more. */
    private readonly take: (data: Uint8Array | undefined) => readonly Uint8Array[] | Refusal,
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
    const { pipe, socket } = this;
    for (;;) {
      const data = await pipe.read();
      const pass = this.take(data);
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

  async #down(): Promise<void> {
    for await (const chunk of this.socket.iterator({ destroyOnReturn: false })) {
      await this.pipe.write(chunk as Buffer);
      this.bytesDown += (chunk as Buffer).length;
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
