/** What a program may have set on the terminal, and leave behind when it is detached from. */
const RESET = [
  // Cursor and keypad keys, bracketed paste, mouse, focus: off.
  "\x1b[?1l\x1b>\x1b[?2004l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l",
  // Wrapping and the cursor: on. Scrolling all of the screen, plain text, the usual characters.
  "\x1b[?7h\x1b[?25h\x1b[0m\x1b(B\x0f",
].join("");

const ALTERNATE = /\x1b\[\?(?:47|1047|1049)([hl])/g;
/** A sequence may come in two parts. */
const LONGEST_SEQUENCE = 16;

/** Knows from what a terminal was sent what has to be undone. */
export class TerminalModes {
  #isAlternate = false;
  #rest = "";

  saw(data: Uint8Array): void {
    const text = this.#rest + Buffer.from(data).toString("latin1");
    for (const [, on] of text.matchAll(ALTERNATE)) this.#isAlternate = on === "h";
    this.#rest = text.slice(-LONGEST_SEQUENCE);
  }

  /** Brings the terminal back; the next line begins below what is shown. */
  reset(): string {
    // Where there is no other screen, leaving it would move the cursor.
    return `${this.#isAlternate ? "\x1b[?1049l" : ""}${RESET}\r\n`;
  }
}
