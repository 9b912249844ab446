import type * as Xterm from "@xterm/headless";
import type { IBuffer, IMarker, Terminal } from "@xterm/headless";
import { LIMITS } from "../protocol/index.js";
import type { TerminalSize } from "./machine-shells.js";
import { Redactor } from "./secrets/index.js";
import { maskedRows } from "./shell-masking.js";
import { repaint } from "./shell-repaint.js";

/** Bytes drawn in one step; after each it is known which lines have left the screen. */
const STEP_BYTES = 16 * 1024;
/** Places that lines are counted from. */
const PLACES_MAX = 512;
/** Ends an escape sequence that was cut off: CAN. */
const CANCEL = Uint8Array.of(0x18);

/** How many lines had left the screen when so many bytes had been drawn. */
interface Place {
  readonly offset: number;
  lines: number;
}

/** What a person would see. */
export interface ScreenText {
  readonly text: string;
  /** Not all is in it that was shown since the cursor. */
  readonly isCut: boolean;
}

/**
 * A terminal as a person would see it, drawn from the bytes that it was sent and the sizes that it had. The emulator is
 * loaded when the first one is made.
 */
export class ShellScreen {
  readonly #terminal: Terminal;
  /** The next byte to be drawn. */
  #end: number;
  /** First byte that was drawn. */
  readonly #begin: number;
  /** Behind the last gap. */
  #whole: number;
  #sizes: readonly TerminalSize[];
  #places: Place[];
  /** Lines that left the screen and are not kept any more. */
  #forgotten = 0;
  /** A line that was the first one on the screen, and how many had left it by then. */
  #witness: { readonly marker: IMarker; readonly lines: number } | undefined;

  private constructor(terminal: Terminal, begin: number, sizes: readonly TerminalSize[]) {
    this.#terminal = terminal;
    this.#begin = this.#end = this.#whole = begin;
    this.#sizes = sizes;
    this.#places = [{ offset: begin, lines: 0 }];
  }

  /** @param begin offset of the first byte that will be drawn */
  static async open(begin: number, sizes: readonly TerminalSize[]): Promise<ShellScreen> {
    const { Terminal } = await emulator();
    const { cols, rows } = sizeAt(sizes, begin);
    const terminal = new Terminal({
      cols,
      rows,
      scrollback: LIMITS.shellScrollbackLines,
      allowProposedApi: true,
    });
    return new ShellScreen(terminal, begin, sizes);
  }

  /** The next byte to be drawn. */
  get end(): number {
    return this.#end;
  }

  /** The sizes that the terminal has had, as they are known now; each holds from its byte on. */
  resize(sizes: readonly TerminalSize[]): void {
    this.#sizes = sizes;
    this.#fit();
  }

  /** Draws bytes; a cursor in them becomes a place that lines are counted from. */
  async draw(offset: number, data: Uint8Array, cursor = -1): Promise<void> {
    if (offset > this.#end) {
      await this.#write(CANCEL);
      this.#end = this.#whole = offset;
      this.#fit();
    }
    for (let at = Math.max(0, this.#end - offset); at < data.length;) {
      const stops = [cursor, ...this.#sizes.map((size) => size.offset)].map((stop) => stop - offset);
      const until = Math.min(data.length, at + STEP_BYTES, ...stops.filter((stop) => stop > at));
      await this.#write(data.subarray(at, until));
      at = until;
      this.#end = offset + until;
      this.#keepPlace();
      this.#fit();
    }
  }

  /** Lines that left the screen since the cursor, then the screen; trailing blanks are left out, the newest text is kept. */
  text(cursor: number, maxChars: number, redactor = Redactor.none): ScreenText {
    const { active, normal } = this.#terminal.buffer;
    this.#keepPlace();
    const place = this.#places.findLast(({ offset }) => offset <= cursor);
    const from = Math.max(0, (place?.lines ?? 0) - this.#forgotten);
    const lost =
      (place?.lines ?? 0) < this.#forgotten ||
      cursor < this.#whole ||
      (place === undefined && this.#begin > 0);
    // A secret may have begun in the rows above.
    const above = Math.min(from, Math.ceil(redactor.reachBytes / this.#terminal.cols));
    const seen = [
      ...linesOf(normal, from - above, normal.baseY),
      ...linesOf(active, active.baseY, active.baseY + this.#terminal.rows),
    ];
    const rows = maskedRows(seen, redactor).slice(above);
    while (rows.at(-1) === "") rows.pop();
    const { text, isCut } = newest(rows, maxChars);
    return { text, isCut: isCut || lost };
  }

  /** What brings another terminal of this size to the same picture. */
  picture(): string {
    return repaint(this.#terminal);
  }

  #write(data: Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#terminal.write(data, resolve));
  }

  /** Gives the terminal the size that holds where it stands. */
  #fit(): void {
    const { cols, rows } = sizeAt(this.#sizes, this.#end);
    if (cols === this.#terminal.cols && rows === this.#terminal.rows) return;
    const before = this.#linesGone();
    this.#terminal.resize(cols, rows);
    this.#witness = undefined;
    // Lines are wrapped anew, and move between the screen and what lies above: what was seen stays seen.
    const moved = this.#linesGone() - before;
    for (const place of this.#places) place.lines = Math.max(0, place.lines + moved);
    this.#keepPlace();
  }

  #keepPlace(): void {
    const lines = this.#linesGone();
    if (this.#places.at(-1)?.offset === this.#end) this.#places.pop();
    this.#places.push({ offset: this.#end, lines });
    if (this.#places.length > PLACES_MAX) this.#places.shift();
    if (this.#terminal.buffer.active.type === "alternate") return;
    this.#witness?.marker.dispose();
    // In the line below all that has left the screen.
    const marker = this.#terminal.registerMarker(-this.#terminal.buffer.active.cursorY);
    this.#witness = marker === undefined ? undefined : { marker, lines };
  }

  /** Lines that ever left the screen: the emulator only tells of those that it still has. */
  #linesGone(): number {
    const { baseY } = this.#terminal.buffer.normal;
    const witness = this.#witness;
    // It is gone with all before it.
    if (witness?.marker.isDisposed === true) this.#forgotten = Math.max(this.#forgotten, witness.lines);
    else if (witness !== undefined) this.#forgotten = Math.max(0, witness.lines - witness.marker.line);
    return this.#forgotten + baseY;
  }
}

let loading: Promise<typeof Xterm> | undefined;

/** The emulator is CommonJS: its names stand on the default export, or beside it, as who loads it sees fit. */
function emulator(): Promise<typeof Xterm> {
  return (loading ??= import("@xterm/headless").then((module) => {
    const { default: inner } = module as unknown as { default?: typeof Xterm };
    return inner ?? module;
  }));
}

function sizeAt(
  sizes: readonly TerminalSize[],
  offset: number,
): { readonly cols: number; readonly rows: number } {
  return sizes.findLast((size) => size.offset <= offset) ?? sizes[0] ?? { cols: 80, rows: 24 };
}

function linesOf(buffer: IBuffer, from: number, to: number): string[] {
  const lines: string[] = [];
  for (let at = from; at < to; at += 1)
    lines.push(buffer.getLine(at)?.translateToString(true).trimEnd() ?? "");
  return lines;
}

/** As many of the last lines as fit; of a line that alone is too long, its end. */
function newest(lines: readonly string[], maxChars: number): ScreenText {
  let from = lines.length;
  let chars = 0;
  while (from > 0) {
    const more = (lines[from - 1]?.length ?? 0) + 1;
    if (chars + more > maxChars) break;
    chars += more;
    from -= 1;
  }
  const kept = lines.slice(from);
  if (kept.length === 0 && lines.length > 0)
    return { text: lines.at(-1)?.slice(-maxChars) ?? "", isCut: true };
  return { text: kept.map((line) => `${line}\n`).join(""), isCut: from > 0 };
}
