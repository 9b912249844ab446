import { Slots } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { ShellPiece } from "./machine-shells.js";
import { ShellScreen } from "./shell-screen.js";

type End = Extract<ShellPiece, { kind: "end" }>;

/** How a shell is read. */
interface Reads {
  /** Its bytes from an offset on. */
  readonly from: (offset: number) => AsyncIterable<ShellPiece>;
  /** Waits until its terminal is idle. Undefined: nobody waits. */
  readonly idle: (() => AsyncIterable<ShellPiece>) | undefined;
}

interface Kept {
  readonly turn: Slots;
  screen: ShellScreen | undefined;
}

/** Screens that were looked at lately: the next look draws only what came since. */
export class ShellScreens {
  /** The last used one stands last. */
  readonly #kept = new Map<string, Kept>();

  /**
   * Draws what there is of a shell now. The screen is the caller's alone until it is disposed of; others wait, but not
   * while the terminal is waited for.
   */
  async draw(
    shellId: string,
    cursor: number,
    reads: Reads,
    signal?: AbortSignal,
  ): Promise<{ readonly screen: Disposable & { readonly value: ShellScreen }; readonly end: End }> {
    const idle = reads.idle === undefined ? undefined : await idleness(reads.idle());
    const kept = this.#keep(shellId);
    const turn = await kept.turn.take(signal);
    try {
      const end = await this.#catchUp(kept, cursor, reads.from);
      const { screen } = kept;
      if (screen === undefined) throw new PyroError("GUEST_PROTOCOL_ERROR", "a terminal without a size");
      return {
        screen: { value: screen, [Symbol.dispose]: () => turn[Symbol.dispose]() },
        end: { ...end, idle },
      };
    } catch (error) {
      // What it shows is not known.
      this.forget(shellId);
      turn[Symbol.dispose]();
      throw error;
    }
  }

  forget(shellId: string): void {
    this.#kept.delete(shellId);
  }

  clear(): void {
    this.#kept.clear();
  }

  #keep(shellId: string): Kept {
    const kept = this.#kept.get(shellId) ?? { turn: new Slots(1), screen: undefined };
    this.#kept.delete(shellId);
    this.#kept.set(shellId, kept);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > LIMITS.shellScreens && oldest !== undefined) this.#kept.delete(oldest);
    return kept;
  }

  async #catchUp(
    kept: Kept,
    cursor: number,
    read: (offset: number) => AsyncIterable<ShellPiece>,
  ): Promise<End> {
    for await (const piece of read(kept.screen?.end ?? 0)) {
      if (piece.kind === "end") {
        if (cursor > piece.shell.totalBytes) throw beyond(cursor, piece.shell.totalBytes);
        return piece;
      }
      if (piece.kind === "sizes") {
        // Drawn from the first byte that is kept: what was before it is not known.
        kept.screen ??= await ShellScreen.open(0, piece.sizes);
        kept.screen.resize(piece.sizes);
      }
      if (piece.kind === "data") await kept.screen?.draw(piece.offset, piece.data, cursor);
    }
    throw new PyroError("GUEST_PROTOCOL_ERROR", "a read of a shell ended without its state");
  }
}

/** Waits until a terminal is idle; what it shows is read afterwards. */
async function idleness(pieces: AsyncIterable<ShellPiece>): Promise<End["idle"]> {
  for await (const piece of pieces) if (piece.kind === "end") return piece.idle;
  return undefined;
}

/** @returns {PyroError} INVALID_ARGUMENT */
export function beyond(cursor: number, total: number): PyroError {
  return new PyroError(
    "INVALID_ARGUMENT",
    `the cursor ${cursor} lies beyond the ${total} bytes that were shown`,
    {
      hint: "give a next_cursor of this shell, or 0",
    },
  );
}
